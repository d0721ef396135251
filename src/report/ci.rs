//! What a CI system shows of a run: a JUnit file, annotations and a summary on GitHub.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::{Console, Follow, seconds};
use crate::event::Outcome;

/// The most bytes that GitHub takes as the summary of a step of a job: of more it shows nothing.
const SUMMARY: usize = 1024 * 1024;

/// A step that has reached its end.
#[derive(Debug)]
pub struct Finished {
    /// The step.
    pub step: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why.
    pub reason: String,
    /// The whole explanation of a failure.
    pub diagnosis: Option<String>,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// Where a run is reported to besides the terminal.
#[derive(Debug, Clone, Default)]
pub struct CiReports {
    /// `--junit FILE`.
    pub junit: Option<PathBuf>,
    /// Whether this is a job of GitHub Actions, which reads annotations from the output.
    pub annotations: bool,
    /// `$GITHUB_STEP_SUMMARY`.
    pub summary: Option<PathBuf>,
}

impl CiReports {
    /// Whether anybody reads them.
    pub fn are_wanted(&self) -> bool {
        self.annotations || self.junit.is_some() || self.summary.is_some()
    }

    /// Reports a run that is over.
    ///
    /// # Errors
    /// When a file can't be written; the annotations have been made by then.
    pub fn write(&self, stack: &str, run: &Follow, console: &Console) -> Result<(), (PathBuf, io::Error)> {
        if self.annotations {
            run.finished.iter().filter_map(annotation).for_each(|line| console.line(line));
            for warning in console.warned().iter().chain(&run.warnings) {
                console.line(format_args!("::warning title=stack::{}", escaped(warning)));
            }
        }
        let write = |path: &Option<PathBuf>, writing: &dyn Fn(&Path) -> io::Result<()>| {
            path.as_ref().map_or(Ok(()), |path| writing(path).map_err(|error| (path.clone(), error)))
        };
        let junit = write(&self.junit, &|path| std::fs::write(path, junit(stack, &run.finished)));
        let summary = write(&self.summary, &|path| append(path, |room| summary(stack, &run.finished, room)));
        junit.and(summary)
    }
}

/// Appends what `text` makes of the bytes that the file has room for.
fn append(path: &Path, text: impl Fn(usize) -> String) -> io::Result<()> {
    use std::io::Write;
    let mut file = std::fs::File::options().append(true).create(true).open(path)?;
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    file.write_all(text(SUMMARY.saturating_sub(size)).as_bytes())
}

fn annotation(finished: &Finished) -> Option<String> {
    if finished.outcome != Outcome::Failed {
        return None;
    }
    let Finished { step, reason, diagnosis, .. } = finished;
    let text = diagnosis.as_ref().map_or_else(|| reason.clone(), |more| format!("{reason}\n{more}"));
    Some(format!("::error title={}::{}", escaped(step).replace(':', "%3A").replace(',', "%2C"), escaped(&text)))
}

/// GitHub's own escapes: a line end would end the command.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Skipped => "skipped",
        Outcome::Failed => "failed",
        Outcome::Blocked => "blocked",
        Outcome::Cancelled => "cancelled",
    }
}

/// The summary in so many bytes. Failures have at least half of them.
fn summary(stack: &str, finished: &[Finished], room: usize) -> String {
    let mut text = format!("### stack {stack}\n\n| step | outcome | time | why |\n|---|---|---|---|\n");
    let left_out = "\nThere was no room for all of it: the log of the job has the rest.\n";
    let room = room.saturating_sub(left_out.len());
    let mut is_whole = true;
    let mut put = |part: &str, room: usize| match text.len() + part.len() <= room {
        true => text.push_str(part),
        false => is_whole = false,
    };
    for Finished { step, outcome, reason, seconds: time, .. } in finished {
        put(&format!("| `{step}` | {} | {} | {} |\n", word(*outcome), seconds(*time), markdown(reason)), room / 2);
    }
    for Finished { step, diagnosis, .. } in finished {
        let Some(diagnosis) = diagnosis else { continue };
        let fence = "`".repeat(longest_run(diagnosis, '`').max(2) + 1);
        let summary = format!("<details open><summary>{step}</summary>");
        put(&format!("\n{summary}\n\n{fence}text\n{diagnosis}\n{fence}\n</details>\n"), room);
    }
    text.push_str(if is_whole { "\n" } else { left_out });
    text
}

/// Text as it stands in a cell of a table, with nothing in it that Markdown would take for more than text.
fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '&' | '|' | '~' | '$' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// How often `wanted` stands in the text in a row, at most.
fn longest_run(text: &str, wanted: char) -> usize {
    text.split(|c| c != wanted).map(str::len).max().unwrap_or_default()
}

fn junit(stack: &str, finished: &[Finished]) -> String {
    let count = |wanted: &[Outcome]| finished.iter().filter(|one| wanted.contains(&one.outcome)).count();
    let (failed, skipped) =
        (count(&[Outcome::Failed]), count(&[Outcome::Skipped, Outcome::Blocked, Outcome::Cancelled]));
    let time: f64 = finished.iter().map(|one| one.seconds).sum();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        text,
        "<testsuites><testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" skipped=\"{skipped}\" time=\"{time:.3}\">",
        xml(stack),
        finished.len()
    );
    for Finished { step, outcome, reason, diagnosis, seconds } in finished {
        let kind = step.split(':').next().unwrap_or(step);
        let _ = write!(text, "<testcase classname=\"{}\" name=\"{}\" time=\"{seconds:.3}\">", xml(kind), xml(step));
        match outcome {
            Outcome::Done => {}
            Outcome::Failed => {
                let more = diagnosis.as_deref().unwrap_or_default();
                let _ = write!(text, "<failure message=\"{}\">{}</failure>", xml(reason), xml(more));
            }
            Outcome::Skipped | Outcome::Blocked | Outcome::Cancelled => {
                let _ = write!(text, "<skipped message=\"{}: {}\"/>", word(*outcome), xml(reason));
            }
        }
        text.push_str("</testcase>\n");
    }
    text.push_str("</testsuite></testsuites>\n");
    text
}

/// Text as XML has it. Control characters can't stand in XML at all.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Vec<Finished> {
        let step = |step: &str, outcome, reason: &str, diagnosis: Option<&str>| Finished {
            step: step.to_owned(),
            outcome,
            reason: reason.to_owned(),
            diagnosis: diagnosis.map(str::to_owned),
            seconds: 1.5,
        };
        vec![
            step("build:api", Outcome::Failed, "exit code 1 & <more>", Some("line | one\n100%\u{1b}[0m")),
            step("load:api", Outcome::Blocked, "blocked by build:api", None),
            step("chart:db", Outcome::Skipped, "revision 3 | ready", None),
        ]
    }

    #[test]
    fn a_failure_is_one_annotation_of_one_line() {
        let lines: Vec<String> = steps().iter().filter_map(annotation).collect();
        assert_eq!(lines, ["::error title=build%3Aapi::exit code 1 & <more>%0Aline | one%0A100%25\u{1b}[0m"]);
    }

    #[test]
    fn the_summary_keeps_its_table() {
        let text = summary("todo", &steps(), SUMMARY);
        assert!(text.contains("| `chart:db` | skipped | 1.50s | revision 3 \\| ready |"), "{text}");
        assert!(text.contains("```text\nline | one\n100%"), "{text}");
    }

    #[test]
    fn the_summary_shows_text_as_it_is() {
        let mut steps = steps();
        "~ a/__init__.py, `b` <c> $d$ \\| e\r\nf".clone_into(&mut steps[2].reason);
        steps[0].diagnosis = Some("a\n````\nb".to_owned());
        let text = summary("todo", &steps, SUMMARY);
        assert!(text.contains(r"\~ a/\_\_init\_\_.py, \`b\` \<c\> \$d\$ \\\| e  f |"), "{text}");
        assert!(text.contains("`````text\na\n````\nb\n`````\n</details>"), "{text}");
    }

    #[test]
    fn a_summary_that_is_too_long_says_so_and_keeps_failures() {
        let steps: Vec<_> = (0..100).flat_map(|_| steps()).collect();
        let whole = summary("todo", &steps, SUMMARY);
        assert!(!whole.contains("no room"));
        let text = summary("todo", &steps, 8000);
        assert!(text.len() <= 8000 && text.contains("no room") && text.contains("```text\nline"), "{text}");
    }

    #[test]
    fn a_file_that_cannot_be_written_does_not_cost_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let summary = folder.path().join("summary");
        let reports = CiReports {
            junit: Some(folder.path().join("none/junit.xml")),
            annotations: false,
            summary: Some(summary.clone()),
        };
        let run = Follow { finished: steps(), ..Follow::default() };
        let console = Console::new(crate::report::ColorChoice::Never, false);
        let (path, _) = reports.write("todo", &run, &console).unwrap_err();
        assert!(path.ends_with("junit.xml"));
        assert!(std::fs::read_to_string(summary).unwrap().contains("### stack todo"));
    }

    #[test]
    fn junit_is_xml_whatever_was_said() {
        let text = junit("todo", &steps());
        assert!(text.contains("tests=\"3\" failures=\"1\" skipped=\"2\" time=\"4.500\""), "{text}");
        assert!(
            text.contains(
                "<failure message=\"exit code 1 &amp; &lt;more&gt;\">line | one&#10;100%\u{fffd}[0m</failure>"
            )
        );
        assert!(text.contains("<skipped message=\"blocked: blocked by build:api\"/>"));
    }
}
