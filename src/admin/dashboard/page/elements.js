// Elements, made without markup: whatever the server sends becomes text and nothing else.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; a string becomes text, what is missing is skipped. */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same of a drawing. */
export function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

/** The element of the page with this id. */
export const find = (id) => document.getElementById(id);

/** Sets a text where it differs, so that nothing is announced or selected anew for no reason. */
export function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** Puts these children in place of the present ones, unless they look the same. */
export function show(target, ...children) {
  const fresh = target.cloneNode(false);
  fresh.append(...children);
  if (!target.isEqualNode(fresh)) target.replaceChildren(...fresh.childNodes);
}

function filled(target, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) target.setAttribute(name, value);
  }
  target.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return target;
}
