//! What a CI system shows of a run: a JUnit file, annotations and a summary on GitHub.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::{Console, Follow, seconds};
use crate::event::Outcome;

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
            for warning in &run.warnings {
                console.line(format_args!("::warning title=stack::{}", escaped(warning)));
            }
        }
        if let Some(path) = &self.junit {
            std::fs::write(path, junit(stack, &run.finished)).map_err(|error| (path.clone(), error))?;
        }
        if let Some(path) = &self.summary {
            append(path, &summary(stack, &run.finished)).map_err(|error| (path.clone(), error))?;
        }
        Ok(())
    }
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    std::fs::File::options().append(true).create(true).open(path)?.write_all(text.as_bytes())
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

fn summary(stack: &str, finished: &[Finished]) -> String {
    let mut text = format!("### stack {stack}\n\n| step | outcome | time | why |\n|---|---|---|---|\n");
    for Finished { step, outcome, reason, seconds: time, .. } in finished {
        let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
        let _ = writeln!(text, "| `{step}` | {} | {} | {} |", word(*outcome), seconds(*time), cell(reason));
    }
    for Finished { step, diagnosis, .. } in finished {
        let Some(diagnosis) = diagnosis else { continue };
        let _ = write!(text, "\n<details open><summary>{step}</summary>\n\n````text\n{diagnosis}\n````\n</details>\n");
    }
    text.push('\n');
    text
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
        let text = summary("todo", &steps());
        assert!(text.contains("| `chart:db` | skipped | 1.50s | revision 3 \\| ready |"), "{text}");
        assert!(text.contains("````text\nline | one\n100%"), "{text}");
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
