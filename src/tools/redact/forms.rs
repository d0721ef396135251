//! The forms that a secret value has within other texts.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Adds the base64 form.
pub(super) fn base64(value: &str, forms: &mut Vec<String>) {
    forms.push(STANDARD.encode(value));
}

/// Adds the forms within a JSON string that are not the value itself: as most write it, as Go does, which escapes what
/// HTML would read as its own, and each with ASCII alone.
pub(super) fn json(value: &str, forms: &mut Vec<String>) {
    let is_plain = |c: char| c.is_ascii() && !c.is_ascii_control() && !matches!(c, '"' | '\\' | '<' | '>' | '&');
    if value.chars().all(is_plain) {
        return;
    }
    for (html, ascii) in [(false, false), (true, false), (false, true), (true, true)] {
        let form = in_json(value, html, ascii);
        if form != value {
            forms.push(form);
        }
    }
}

fn in_json(value: &str, html: bool, ascii: bool) -> String {
    let mut form = String::with_capacity(value.len() + 16);
    for c in value.chars() {
        match c {
            '"' => form.push_str("\\\""),
            '\\' => form.push_str("\\\\"),
            '\n' => form.push_str("\\n"),
            '\r' => form.push_str("\\r"),
            '\t' => form.push_str("\\t"),
            '\u{8}' => form.push_str("\\b"),
            '\u{c}' => form.push_str("\\f"),
            _ if c < ' ' || (html && matches!(c, '<' | '>' | '&')) || (ascii && !c.is_ascii()) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string can't fail.
                    let _ = write!(form, "\\u{unit:04x}");
                }
            }
            _ => form.push(c),
        }
    }
    form
}

/// What different tools leave as it is in a URL, beside letters and digits.
const LEFT: [&[u8]; 3] = [b"-._~", b"-._~/", b"-._~!*'()"];

/// Adds the percent-encoded forms that are not the value itself.
pub(super) fn percent(value: &str, forms: &mut Vec<String>) {
    if value.bytes().all(|byte| byte.is_ascii_alphanumeric() || LEFT[0].contains(&byte)) {
        return;
    }
    for left in LEFT {
        for space in ["%20", "+"] {
            for upper in [true, false] {
                let form = in_url(value, left, space, upper);
                if form != value {
                    forms.push(form);
                }
            }
        }
    }
}

fn in_url(value: &str, left: &[u8], space: &str, upper: bool) -> String {
    let mut form = String::with_capacity(value.len() * 2);
    for byte in value.bytes() {
        // Writing to a string can't fail.
        match byte {
            b' ' => form.push_str(space),
            _ if byte.is_ascii_alphanumeric() || left.contains(&byte) => form.push(char::from(byte)),
            _ if upper => _ = write!(form, "%{byte:02X}"),
            _ => _ = write!(form, "%{byte:02x}"),
        }
    }
    form
}
