//! What can be told of a chart's templates without rendering them.

/// Whether a file of a chart is a template that asks the cluster, so that what it renders to depends on what is there.
pub fn asks_the_cluster(path: &str, bytes: &[u8]) -> bool {
    let is_template = path.starts_with("templates/") || path.contains("/templates/");
    is_template && std::str::from_utf8(bytes).is_ok_and(|text| actions(text).any(calls_lookup))
}

/// What stands between `{{` and `}}`.
fn actions(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once("{{")?;
        let is_comment = after.trim_start_matches('-').trim_start().starts_with("/*");
        let (action, after) = after.split_once(if is_comment { "*/" } else { "}}" }).unwrap_or((after, ""));
        rest = after;
        Some(if is_comment { "" } else { action })
    })
}

/// Whether a call of `lookup` is among an action's words, and not within a text.
fn calls_lookup(action: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$');
    let mut plain = String::new();
    let mut chars = action.chars();
    while let Some(c) = chars.next() {
        if c == '"' || c == '`' {
            plain.push(' ');
            while let Some(inner) = chars.next() {
                if inner == c {
                    break;
                }
                if inner == '\\' && c == '"' {
                    chars.next();
                }
            }
        } else {
            plain.push(c);
        }
    }
    plain.split(|c| !is_part(c)).any(|word| word == "lookup")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_call_in_a_template_counts() {
        for text in [
            "a: {{ (lookup \"v1\" \"Secret\" .Release.Namespace \"a\").data | toJson }}",
            "{{- $s := lookup \"v1\" \"Secret\" \"\" \"\" -}}",
            "{{/* a comment }} */}}{{ if\n lookup \"v1\" \"Node\" \"\" \"\" }}{{ end }}",
        ] {
            assert!(asks_the_cluster("templates/a.yaml", text.as_bytes()), "{text}");
            assert!(asks_the_cluster("charts/kit/templates/_a.tpl", text.as_bytes()), "{text}");
            assert!(!asks_the_cluster("files/a.yaml", text.as_bytes()), "{text}");
        }
        for text in [
            "lookup: {{ .Values.lookup }}",
            "{{/* lookup \"v1\" */}}",
            "{{ $lookup }} {{ \"say \\\" lookup\" }}",
            "{{ include \"lookup\" . }} {{ lookups }}",
        ] {
            assert!(!asks_the_cluster("templates/a.yaml", text.as_bytes()), "{text}");
        }
    }
}
