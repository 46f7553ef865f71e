//! A person at a browser: verbs for Chromium.
//!
//! Nothing here sleeps. What takes time is awaited inside the page, where a condition is looked at
//! with every frame until it holds. A verb that fails names the line of the test that said it.

use base64::Engine as _;
use serde_json::{Value, json};

use super::webdriver::WebDriver;

/// What the tests' expressions may call.
const HELPERS: &str = "
    const visible = (element) => element?.checkVisibility({ visibilityProperty: true }) ?? false;
    const text = (css) => {
        const element = document.querySelector(css);
        return !visible(element) ? null : element.value || element.innerText.trim();
    };
    const titles = (list) => [...document.querySelectorAll(`${list} > li`)]
        .filter(visible).map((row) => row.querySelector('.note-title').innerText);
";

/// Keys as the protocol writes them.
pub mod key {
    pub const BACKSPACE: char = '\u{e003}';
    pub const CONTROL: char = '\u{e009}';
    pub const DELETE: char = '\u{e017}';
    pub const DOWN: char = '\u{e015}';
    pub const ENTER: char = '\u{e007}';
    pub const ESCAPE: char = '\u{e00c}';
    pub const LEFT: char = '\u{e012}';
    pub const TAB: char = '\u{e004}';
    pub const UP: char = '\u{e013}';
}

/// A browser with one page.
pub struct Browser(WebDriver);

impl Browser {
    /// Starts a browser that knows nothing yet and takes our self-signed certificate. Its window is
    /// wide enough for the list and a note side by side.
    pub fn start() -> Self {
        let browser = Self(WebDriver::start());
        browser.resize(1280, 800);
        browser
    }

    /// Goes to `url` and waits until it is loaded.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// Loads the page again.
    #[track_caller]
    pub fn reload(&self) {
        self.post("/refresh", &json!({}));
    }

    /// Goes back in the history, as the button of a phone does.
    #[track_caller]
    pub fn go_back(&self) {
        self.post("/back", &json!({}));
    }

    /// Clicks on an element, which has to be visible and covered by nothing.
    #[track_caller]
    pub fn click(&self, css: &str) {
        self.post(&format!("/element/{}/click", self.element(css)), &json!({}));
    }

    /// Types into a field, after what is there.
    #[track_caller]
    pub fn write(&self, css: &str, text: &str) {
        let element = self.element(css);
        self.post(
            &format!("/element/{element}/value"),
            &json!({ "text": text }),
        );
    }

    /// Presses keys together, wherever the focus is, and lets go of them.
    #[track_caller]
    pub fn press(&self, keys: &[char]) {
        let down = keys
            .iter()
            .map(|key| json!({"type": "keyDown", "value": key.to_string()}));
        let up = keys
            .iter()
            .rev()
            .map(|key| json!({"type": "keyUp", "value": key.to_string()}));
        let actions: Vec<Value> = down.chain(up).collect();
        self.post(
            "/actions",
            &json!({"actions": [{ "type": "key", "id": "keyboard", "actions": actions }]}),
        );
    }

    /// Types where the focus is, one key after the other.
    #[track_caller]
    pub fn type_text(&self, text: &str) {
        for letter in text.chars() {
            self.press(&[letter]);
        }
    }

    /// Waits until the element shows exactly this text; of a field, its value.
    #[track_caller]
    pub fn sees(&self, css: &str, text: &str) {
        self.wait_for(&format!("text({})", json!(css)), &json!(text));
    }

    /// Waits until there is no such element to see.
    #[track_caller]
    pub fn sees_no(&self, css: &str) {
        self.wait_for(&format!("text({})", json!(css)), &Value::Null);
    }

    /// Waits until the list shows exactly these titles, from the top.
    #[track_caller]
    pub fn lists(&self, titles: &[&str]) {
        self.wait_for("titles('#notes')", &json!(titles));
    }

    /// Waits until the expression has this value.
    #[track_caller]
    pub fn wait_for(&self, expression: &str, expected: &Value) {
        let script = format!(
            "{HELPERS}
            const done = arguments[0], expected = {text};
            const found = () => {{ try {{ return {expression}; }} catch (error) {{ return String(error); }} }};
            const look = () => JSON.stringify(found()) === expected
                ? done(true) : requestAnimationFrame(look);
            look();",
            text = json!(expected.to_string()),
        );
        let waited = self.0.command(
            "POST",
            "/execute/async",
            &json!({ "script": script, "args": [] }),
        );
        if let Err(error) = waited {
            let found = self.evaluate(&format!(
                "(() => {{ try {{ return {expression}; }} catch (error) {{ return String(error); }} }})()"
            ));
            let page = self.evaluate("location.href");
            let console = self.console().join("\n");
            panic!(
                "{expression} is {found}, not {expected}, at {page}: {error}\nThe console says:\n{console}"
            );
        }
    }

    /// The value of a JavaScript expression, which may be a promise.
    #[track_caller]
    pub fn evaluate(&self, expression: &str) -> Value {
        let script = format!("{HELPERS} return ({expression});");
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// What an element is called by those who can't see it.
    #[track_caller]
    pub fn accessible_name(&self, css: &str) -> String {
        let path = format!("/element/{}/computedlabel", self.element(css));
        let name = self.0.command("GET", &path, &Value::Null);
        name.unwrap_or_else(|error| panic!("{css}: {error}"))
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// What Chromium wrote to the console since the last call: errors of scripts, violations of the
    /// Content-Security-Policy, answers with an error status, and what the page itself logs. What it
    /// says of pages of its own, such as the one that it starts with, is left out.
    #[track_caller]
    pub fn console(&self) -> Vec<String> {
        let entries = self.post("/se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().unwrap().iter();
        entries
            .map(|entry| {
                let part = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
                (part("level"), part("source"), part("message"))
            })
            .filter(|(_, _, message)| !message.starts_with("chrome://"))
            .map(|(level, source, message)| format!("{level}/{source}: {message}"))
            .collect()
    }

    /// A window of this size, in CSS pixels.
    #[track_caller]
    pub fn resize(&self, width: u32, height: u32) {
        self.emulate(width, height, false);
    }

    /// A phone of this size: touched, not clicked, and without a pointer that could hover.
    #[track_caller]
    pub fn become_phone(&self, width: u32, height: u32) {
        self.emulate(width, height, true);
        self.devtools(
            "Emulation.setTouchEmulationEnabled",
            &json!({ "enabled": true }),
        );
        self.devtools("Emulation.setScrollbarsHidden", &json!({ "hidden": true }));
        self.wait_for("matchMedia('(hover: none)').matches", &json!(true));
    }

    /// As on a machine whose user prefers dark colours.
    #[track_caller]
    pub fn prefer_dark(&self) {
        let dark = json!([{ "name": "prefers-color-scheme", "value": "dark" }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": dark }));
        self.wait_for(
            "matchMedia('(prefers-color-scheme: dark)').matches",
            &json!(true),
        );
    }

    /// The page as a PNG.
    #[track_caller]
    pub fn screenshot(&self) -> Vec<u8> {
        let image = self.0.command("GET", "/screenshot", &Value::Null).unwrap();
        base64::prelude::BASE64_STANDARD
            .decode(image.as_str().unwrap())
            .unwrap()
    }

    #[track_caller]
    fn emulate(&self, width: u32, height: u32, mobile: bool) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile});
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
        self.wait_for("[innerWidth, innerHeight]", &json!([width, height]));
    }

    #[track_caller]
    fn devtools(&self, command: &str, parameters: &Value) {
        self.post(
            "/goog/cdp/execute",
            &json!({ "cmd": command, "params": parameters }),
        );
    }

    #[track_caller]
    fn element(&self, css: &str) -> String {
        let found = self.post(
            "/element",
            &json!({ "using": "css selector", "value": css }),
        );
        let (_, id) = found.as_object().unwrap().iter().next().unwrap();
        id.as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        self.0
            .command("POST", path, body)
            .unwrap_or_else(|error| panic!("{path} {body}: {error}"))
    }
}
