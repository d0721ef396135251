//! The forms that a secret value has within other texts.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Encoded forms that are shorter than this may well be a part of something else, such as a digest.
const SHORTEST_ENCODED: usize = 8;

/// How wide tools make lines of base64: `base64` and MIME, and `openssl` and PEM.
const WIDTHS: [usize; 2] = [76, 64];

/// Adds the base64 form.
pub(super) fn base64(value: &str, forms: &mut Vec<String>) {
    forms.push(STANDARD.encode(value));
}

/// Adds the digits of base64 that are the value's alone where it is a part of what was encoded (`user:` and a password), at
/// each of the three places where it may begin, and the lines of a value that was encoded by itself and wrapped.
pub(super) fn within_base64(value: &str, forms: &mut Vec<String>) {
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(value.as_bytes());
        let encoded = STANDARD.encode(&bytes);
        // Six bits each: the first digits hold bits of what comes before, and the last perhaps of what follows.
        let inner = &encoded[(before * 8).div_ceil(6)..bytes.len() * 8 / 6];
        let mut add = |form: &str| {
            if form.len() >= SHORTEST_ENCODED {
                forms.push(form.to_owned());
                if form.contains(['+', '/']) {
                    forms.push(form.replace('+', "-").replace('/', "_"));
                }
            }
        };
        add(inner);
        for width in WIDTHS.into_iter().filter(|width| before == 0 && inner.len() > *width) {
            for line in 0..inner.len().div_ceil(width) {
                add(&inner[line * width..inner.len().min((line + 1) * width)]);
            }
        }
    }
}

/// Adds the hexadecimal forms.
pub(super) fn hex(value: &str, forms: &mut Vec<String>) {
    let (mut lower, mut upper) = (String::new(), String::new());
    for byte in value.bytes() {
        // Writing to a string can't fail.
        let _ = write!(lower, "{byte:02x}");
        let _ = write!(upper, "{byte:02X}");
    }
    if lower.len() > SHORTEST_ENCODED {
        forms.extend([lower, upper]);
    }
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
