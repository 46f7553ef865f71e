/**
 * Keys for the whole page. Single letters count only outside of text fields and can be switched off (WCAG 2.1.4);
 * Ctrl or Cmd with Enter counts everywhere.
 */

const SWITCH = 'unibody.single-keys';
const isApple = /mac|iphone|ipad/i.test(navigator.userAgentData?.platform ?? navigator.platform);

/** `keys` maps a `KeyboardEvent.key` to what it does; `save` and `escape` are the two that work while typing. */
export function listen({ keys, save, escape }) {
  const toggle = document.getElementById('single-keys');
  toggle.checked = remembered();
  toggle.addEventListener('change', () => remember(toggle.checked));

  document.addEventListener('keydown', (event) => {
    // Esc and Enter that end an input method's composition are not ours, and an open dialog has its own keys.
    if (event.isComposing || event.defaultPrevented || document.querySelector('dialog[open]')) return;
    const withCommand = event.ctrlKey || event.metaKey;
    if (event.key === 'Enter' && withCommand) {
      event.preventDefault();
      if (!event.repeat) save();
    } else if (event.key === 'Escape') {
      escape(event);
    } else if (toggle.checked && !withCommand && !event.altKey && !event.repeat && !isTyping(event.target)) {
      // Lower case, so that Caps Lock makes no difference.
      const act = Object.hasOwn(keys, event.key.toLowerCase()) && keys[event.key.toLowerCase()];
      if (!act) return;
      event.preventDefault();
      act();
    }
  });
}

/** Writes the keys as this machine's keyboard has them. */
export function nameKeys() {
  if (!isApple) return;
  document.getElementById('save-keys').textContent = '⌘ ↵';
  for (const element of document.querySelectorAll('[data-command-key]')) element.textContent = '⌘';
}

function isTyping(target) {
  return target instanceof Element && target.closest('input:not([type=checkbox]), textarea, select, [contenteditable]') !== null;
}

function remembered() {
  try {
    return localStorage.getItem(SWITCH) !== 'off';
  } catch {
    return true;
  }
}

function remember(isOn) {
  try {
    localStorage.setItem(SWITCH, isOn ? 'on' : 'off');
  } catch {
    // Then it holds for this page only.
  }
}
