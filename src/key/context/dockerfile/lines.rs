//! A Dockerfile's instructions: directives, comments, continuation lines and here-documents taken apart.

use std::borrow::Cow;

use super::words::{closed_words, json};

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instruction {
    /// The line it starts on, counted from 1.
    pub(super) line: u32,
    /// Its name in capitals.
    pub(super) name: String,
    /// `--name=value` words before the rest, their quotes taken off; a flag without a value has an empty one.
    pub(super) flags: Vec<(String, String)>,
    /// Everything behind the flags, continuation lines joined.
    pub(super) rest: String,
}

/// A Dockerfile taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lines {
    /// `# syntax=…`
    pub(super) syntax: Option<String>,
    /// The character that continues a line and takes away the meaning of the next one.
    pub(super) escape: char,
    pub(super) instructions: Vec<Instruction>,
}

/// A here-document that an instruction announces.
struct HereDocument {
    name: String,
    /// `<<-`: tabs before the end are ignored.
    tabs: bool,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let raw: Vec<&str> = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
        let mut lines = Self { syntax: None, escape: '\\', instructions: Vec::new() };
        // The engine looks for directives behind a line that says what runs the file.
        let shebang = usize::from(raw.first().is_some_and(|line| line.starts_with("#!")));
        for line in raw.iter().skip(shebang) {
            let Some((name, value)) = directive(line) else { break };
            match name.as_str() {
                // What follows the image is for the frontend.
                "syntax" => lines.syntax = value.split_whitespace().next().map(str::to_owned),
                "escape" if value == "`" => lines.escape = '`',
                _ => {}
            }
        }
        let mut at = 0;
        while at < raw.len() {
            let start = at;
            let mut joined = String::new();
            let mut open = false;
            while at < raw.len() {
                let line = raw[at];
                at += 1;
                let trimmed = line.trim_start();
                // Comments and empty lines may stand between continued lines.
                if trimmed.starts_with('#') || trimmed.is_empty() {
                    if open {
                        continue;
                    }
                    break;
                }
                let piece = if open { line } else { trimmed };
                match continued(piece, lines.escape) {
                    Some(piece) => {
                        joined.push_str(piece);
                        open = true;
                    }
                    None => {
                        joined.push_str(piece);
                        break;
                    }
                }
            }
            if joined.trim().is_empty() {
                continue;
            }
            let first = raw[start..at].iter().position(|line| !is_blank(line)).unwrap_or(0);
            let instruction = instruction(&joined, u32::try_from(start + first + 1).unwrap_or(u32::MAX));
            for document in here_documents(&instruction) {
                while at < raw.len() {
                    let line = raw[at];
                    at += 1;
                    if (if document.tabs { line.trim_start_matches('\t') } else { line }) == document.name {
                        break;
                    }
                }
            }
            lines.instructions.push(instruction);
        }
        lines
    }
}

fn is_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// `# name=value` at the top of the file.
fn directive(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.trim().strip_prefix('#')?.split_once('=')?;
    let name = name.trim().to_ascii_lowercase();
    let known = matches!(name.as_str(), "syntax" | "escape" | "check");
    known.then(|| (name, value.trim()))
}

/// The line without the character that continues it.
fn continued(line: &str, escape: char) -> Option<&str> {
    line.trim_end_matches([' ', '\t']).strip_suffix(escape)
}

fn instruction(text: &str, line: u32) -> Instruction {
    let text = text.trim();
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let (flags, rest) = flags(rest);
    Instruction { line, name: name.to_ascii_uppercase(), flags, rest: rest.trim().to_owned() }
}

/// Takes the flags off the front, as the engine does: quotes may stand anywhere in a flag and hold spaces together, a
/// backslash takes away the meaning of the next character, also within quotes of both kinds and whatever the escape
/// character of the file is. The engine goes by bytes and takes each for a character, and so does this.
fn flags(text: &str) -> (Vec<(String, String)>, Cow<'_, str>) {
    let bytes = text.as_bytes();
    let rest = |at: usize| String::from_utf8_lossy(bytes.get(at..).unwrap_or_default());
    let mut flags = Vec::new();
    let mut at = 0;
    loop {
        while bytes.get(at).is_some_and(|byte| is_space(*byte)) {
            at += 1;
        }
        if !bytes.get(at..).unwrap_or_default().starts_with(b"--") {
            return (flags, rest(at));
        }
        let mut word = String::new();
        let mut quote = None;
        while let Some(&byte) = bytes.get(at).filter(|byte| quote.is_some() || !is_space(**byte)) {
            at += 1;
            match byte {
                b'\\' => {
                    word.extend(bytes.get(at).copied().map(char::from));
                    at += 1;
                }
                byte if quote == Some(byte) => quote = None,
                b'"' | b'\'' if quote.is_none() => quote = Some(byte),
                byte => word.push(char::from(byte)),
            }
        }
        let flag = word.get(2..).unwrap_or_default();
        if flag.is_empty() {
            return (flags, rest(at));
        }
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        flags.push((name.to_owned(), value.to_owned()));
    }
}

fn is_space(byte: u8) -> bool {
    char::from(byte).is_whitespace()
}

/// The here-documents that follow an instruction. Docker knows them behind `RUN`, `COPY` and `ADD`, also as triggers, as
/// words of a shell: what stands within quotes or in a JSON array announces none.
fn here_documents(instruction: &Instruction) -> Vec<HereDocument> {
    let Instruction { name, rest, .. } = instruction;
    if name == "ONBUILD" {
        return here_documents(&self::instruction(rest, instruction.line));
    }
    if !matches!(name.as_str(), "RUN" | "COPY" | "ADD") || json(rest).is_some() {
        return Vec::new();
    }
    // The engine takes a backslash for the escape character here, whatever that of the file is; and where a quote is left
    // open it finds nothing.
    let words = closed_words(rest, '\\').unwrap_or_default();
    words.iter().filter_map(|word| here_document(word)).collect()
}

/// `<<NAME`, `<<-NAME`, `3<<"NAME"`.
fn here_document(word: &str) -> Option<HereDocument> {
    let (number, rest) = word.split_once("<<")?;
    if !number.chars().all(|c| c.is_ascii_digit()) || rest.contains('<') {
        return None;
    }
    let (tabs, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let name: String = rest.chars().filter(|c| !matches!(c, '"' | '\'')).collect();
    (!name.is_empty()).then_some(HereDocument { name, tabs })
}

/// Whether a source of `COPY` or `ADD` is a here-document.
pub(super) fn is_here_document(word: &str) -> bool {
    here_document(word).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<(u32, String, String)> {
        Lines::of(text).instructions.into_iter().map(|one| (one.line, one.name, one.rest)).collect()
    }

    fn line(line: u32, name: &str, rest: &str) -> (u32, String, String) {
        (line, name.to_owned(), rest.to_owned())
    }

    #[test]
    fn continued_lines_are_joined_over_comments_and_empty_lines() {
        let text = "# a comment\n\nfrom x\nRUN a \\\n  # inside\n\n  b \\  \n c\nCOPY d e\\\n";
        assert_eq!(told(text), [line(3, "FROM", "x"), line(4, "RUN", "a   b  c"), line(9, "COPY", "d e")]);
    }

    #[test]
    fn directives_stand_at_the_top_only() {
        let lines = Lines::of("# Syntax = docker/dockerfile:1\n# escape=`\nFROM x\nRUN a `\n b\\\nRUN c");
        assert_eq!((lines.syntax.as_deref(), lines.escape), (Some("docker/dockerfile:1"), '`'));
        assert_eq!(lines.instructions.len(), 3);
        assert_eq!(Lines::of("# hello\n# syntax=x\nFROM y").syntax, None);
        assert_eq!(Lines::of("#!/usr/bin/env docker\n#syntax = x y\nFROM z").syntax.as_deref(), Some("x"));
    }

    #[test]
    fn here_documents_are_no_instructions() {
        let text =
            "FROM x\nRUN <<EOF bash\nCOPY not this\nEOF\nCOPY <<-A <<\"B\" /to/\nFROM no\n\tA\nFROM no\nB\nUSER me\n";
        let expected = [
            line(1, "FROM", "x"),
            line(2, "RUN", "<<EOF bash"),
            line(5, "COPY", "<<-A <<\"B\" /to/"),
            line(10, "USER", "me"),
        ];
        assert_eq!(told(text), expected);
    }

    #[test]
    fn only_words_of_their_own_announce_here_documents() {
        let announces = |line: &str| told(&format!("{line}\nFROM no\nEOF\nUSER me")).len() == 2;
        for line in ["RUN <<EOF", "RUN a && <<-EOF b", "RUN 3<<'EOF' c", "RUN \"x\" <<\"EOF\"", "ONBUILD RUN <<EOF"] {
            assert!(announces(line), "{line}");
        }
        for line in [
            r#"RUN echo "x <<EOF y" > /z"#,
            "RUN echo 'x <<EOF y'",
            r#"RUN ["sh", "-c", "echo hi <<EOF ok"]"#,
            r"RUN echo \ <<\EOF\ x",
            "RUN echo it's <<EOF",
            "RUN echo $((1<<2)) x<<EOF",
            "RUN cat <<<EOF",
            "CMD <<EOF",
        ] {
            assert!(!announces(line), "{line}");
        }
    }

    #[test]
    fn flags_are_taken_off() {
        let lines = Lines::of("COPY --from=a --link --chown=1:2 b c\r\n");
        let [copy] = &lines.instructions[..] else { panic!("{lines:?}") };
        let flag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(copy.flags, [flag("from", "a"), flag("link", ""), flag("chown", "1:2")]);
        assert_eq!(copy.rest, "b c");
    }

    #[test]
    fn quotes_and_backslashes_are_taken_off_flags() {
        type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
        let table: [Row<'_>; 9] = [
            (r#"--from="base" / /"#, &[("from", "base")], "/ /"),
            (r"--from='base' a b", &[("from", "base")], "a b"),
            (r#""--from=base" a"#, &[], r#""--from=base" a"#),
            (r#"--chown="a b":c x y"#, &[("chown", "a b:c")], "x y"),
            (r"--from=b\ase\ two x y", &[("from", "base two")], "x y"),
            (r#"--a='\'x' --b="\"" y"#, &[("a", "'x"), ("b", "\"")], "y"),
            (r#"--mount=type=bind,source="x" make "all""#, &[("mount", "type=bind,source=x")], r#"make "all""#),
            (r#"--from="open / /"#, &[("from", "open / /")], ""),
            (r#"-- --from=base "x""#, &[], r#"--from=base "x""#),
        ];
        for (text, expected, rest) in table {
            let instruction = super::instruction(&format!("COPY {text}"), 1);
            let found: Vec<_> = instruction.flags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!((found.as_slice(), instruction.rest.as_str()), (expected, rest), "{text}");
        }
    }
}
