//! BuildKit's status messages, told as events that a person can follow.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning};

use crate::tools::redact::Redactor;

/// Lines of each step that are kept to explain a failure.
const TAIL: usize = 30;

/// Something that happened in a build. Text is free of secret values.
#[derive(Debug, Clone, PartialEq)]
pub enum BuildEvent {
    /// A step of the build began to run.
    StepStarted {
        /// `[runtime 3/5] RUN pip install …`
        step: Arc<str>,
    },
    /// A step has ended well.
    StepDone {
        /// The step.
        step: Arc<str>,
        /// Whether its result was in the cache.
        cached: bool,
        /// How long it took.
        seconds: f64,
    },
    /// A step failed.
    StepFailed {
        /// The step.
        step: Arc<str>,
        /// What BuildKit said.
        error: String,
    },
    /// A line that a command of the build printed.
    Output {
        /// The step that it belongs to.
        step: Arc<str>,
        /// Whether it was printed to standard error.
        stderr: bool,
        /// The line, without its end.
        line: String,
    },
    /// How far a step has come: a layer being pulled, files being sent, an image being exported.
    Progress {
        /// The step.
        step: Arc<str>,
        /// What is being worked on.
        item: String,
        /// Bytes (or units) done.
        current: u64,
        /// Bytes (or units) in all, when known.
        total: Option<u64>,
    },
    /// Something that BuildKit finds worth knowing.
    Warning {
        /// The sentence.
        message: String,
        /// The line of the Dockerfile, counted from 1.
        line: Option<u32>,
    },
}

/// Turns status messages into events, and remembers what a failure needs to be explained.
pub(super) struct Progress<'a> {
    emit: &'a mut (dyn FnMut(BuildEvent) + Send),
    redactor: Redactor,
    steps: HashMap<String, Step>,
    /// What was last told of each item: it is told again only when it has moved.
    items: HashMap<(String, String), i64>,
    /// The step that failed first; BuildKit then cancels the others, which says nothing.
    failed: Option<String>,
}

struct Step {
    name: Arc<str>,
    started: bool,
    ended: bool,
    stdout: String,
    stderr: String,
    tail: VecDeque<String>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(redactor: Redactor, emit: &'a mut (dyn FnMut(BuildEvent) + Send)) -> Self {
        Self { emit, redactor, steps: HashMap::new(), items: HashMap::new(), failed: None }
    }

    pub(super) fn update(&mut self, status: StatusResponse) {
        // Logs first: a step's last lines often arrive together with its end.
        let (new, known): (Vec<_>, Vec<_>) =
            status.vertexes.into_iter().partition(|vertex| vertex.completed.is_none() && vertex.error.is_empty());
        for vertex in &new {
            self.vertex(vertex);
        }
        for log in status.logs {
            self.log(log);
        }
        for status in status.statuses {
            self.status(status);
        }
        for vertex in &known {
            self.vertex(vertex);
        }
        for warning in status.warnings {
            self.warning(&warning);
        }
    }

    /// Ends lines that never got their line end.
    pub(super) fn finish(&mut self) {
        let digests: Vec<String> = self.steps.keys().cloned().collect();
        for digest in digests {
            self.flush(&digest);
        }
    }

    /// The step with this digest, else the one that failed: its name and its last lines.
    pub(super) fn failure(&self, digest: Option<&str>) -> (Option<String>, Vec<String>) {
        let step = digest.and_then(|digest| self.steps.get(digest));
        let step = step.or_else(|| self.failed.as_ref().and_then(|digest| self.steps.get(digest)));
        match step {
            Some(step) => (Some(step.name.to_string()), step.tail.iter().cloned().collect()),
            None => (None, Vec::new()),
        }
    }

    fn step(&mut self, digest: &str, name: &str) -> &mut Step {
        let redactor = &self.redactor;
        self.steps.entry(digest.to_owned()).or_insert_with(|| Step {
            name: redactor.line(name).as_ref().into(),
            started: false,
            ended: false,
            stdout: String::new(),
            stderr: String::new(),
            tail: VecDeque::new(),
        })
    }

    fn vertex(&mut self, vertex: &Vertex) {
        self.step(&vertex.digest, &vertex.name);
        if (vertex.completed.is_some() || !vertex.error.is_empty()) && vertex.started.is_some() {
            self.flush(&vertex.digest);
        }
        let step = self.step(&vertex.digest, &vertex.name);
        let name = Arc::clone(&step.name);
        // A vertex is told again with every change; BuildKit may even start one again after its end.
        let starts = vertex.started.is_some() && !step.started && !vertex.cached;
        let ends = vertex.completed.is_some() && !step.ended;
        step.started |= vertex.started.is_some();
        step.ended |= vertex.completed.is_some();
        if starts && vertex.completed.is_none() {
            (self.emit)(BuildEvent::StepStarted { step: Arc::clone(&name) });
        }
        if !vertex.error.is_empty() {
            let error = self.redactor.text(&vertex.error);
            // The others are cancelled because of the first, and say so.
            if self.failed.is_none() && !error.ends_with("context canceled") {
                self.failed = Some(vertex.digest.clone());
                (self.emit)(BuildEvent::StepFailed { step: name, error });
            }
        } else if ends {
            let seconds = match (&vertex.started, &vertex.completed) {
                (Some(from), Some(to)) => (seconds(to) - seconds(from)).max(0.0),
                _ => 0.0,
            };
            (self.emit)(BuildEvent::StepDone { step: name, cached: vertex.cached, seconds });
        }
    }

    fn log(&mut self, log: VertexLog) {
        let stderr = log.stream == 2;
        let text = String::from_utf8_lossy(&log.msg).into_owned();
        let step = self.step(&log.vertex, "");
        let buffer = if stderr { &mut step.stderr } else { &mut step.stdout };
        buffer.push_str(&text);
        let mut lines = Vec::new();
        while let Some(end) = buffer.find('\n') {
            lines.push(buffer.drain(..=end).collect::<String>());
        }
        for line in lines {
            self.line(&log.vertex, stderr, &line);
        }
    }

    fn flush(&mut self, digest: &str) {
        let Some(step) = self.steps.get_mut(digest) else { return };
        let rests = [(false, std::mem::take(&mut step.stdout)), (true, std::mem::take(&mut step.stderr))];
        for (stderr, rest) in rests {
            if !rest.is_empty() {
                self.line(digest, stderr, &rest);
            }
        }
    }

    fn line(&mut self, digest: &str, stderr: bool, raw: &str) {
        // Progress bars overwrite their line with a carriage return: what would be left on a terminal is told.
        let shown = raw.trim_end_matches(['\n', '\r']);
        let shown = shown.rsplit('\r').next().unwrap_or(shown);
        let line = self.redactor.line(shown).into_owned();
        let Some(step) = self.steps.get_mut(digest) else { return };
        if step.tail.len() == TAIL {
            step.tail.pop_front();
        }
        step.tail.push_back(line.clone());
        (self.emit)(BuildEvent::Output { step: Arc::clone(&step.name), stderr, line });
    }

    fn status(&mut self, status: VertexStatus) {
        let item = (status.vertex.clone(), status.id.clone());
        if self.items.insert(item, status.current) == Some(status.current) {
            return;
        }
        let step = Arc::clone(&self.step(&status.vertex, "").name);
        let item = if status.name.is_empty() { status.id } else { status.name };
        let current = u64::try_from(status.current).unwrap_or_default();
        let total = u64::try_from(status.total).ok().filter(|total| *total > 0);
        (self.emit)(BuildEvent::Progress { step, item: self.redactor.line(&item).into_owned(), current, total });
    }

    fn warning(&mut self, warning: &VertexWarning) {
        let message = self.redactor.text(&String::from_utf8_lossy(&warning.short));
        let line = warning.ranges.first().and_then(|range| range.start.as_ref()).map(|start| start.line);
        let line = line.and_then(|line| u32::try_from(line).ok());
        (self.emit)(BuildEvent::Warning { message, line });
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit into the mantissa with microseconds to spare")]
fn seconds(time: &Timestamp) -> f64 {
    time.seconds as f64 + f64::from(time.nanos) / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn vertex(digest: &str, name: &str) -> Vertex {
        Vertex { digest: digest.into(), name: name.into(), started: time(1), ..Default::default() }
    }

    fn log(digest: &str, text: &str) -> VertexLog {
        VertexLog { vertex: digest.into(), timestamp: None, stream: 1, msg: text.as_bytes().to_vec() }
    }

    fn events(redactor: Redactor, updates: Vec<StatusResponse>) -> Vec<BuildEvent> {
        let mut seen = Vec::new();
        let mut emit = |event| seen.push(event);
        let mut progress = Progress::new(redactor, &mut emit);
        for update in updates {
            progress.update(update);
        }
        progress.finish();
        seen
    }

    #[test]
    fn a_secret_that_arrives_in_two_pieces_is_hidden() {
        let seen = events(
            Redactor::new(["hunter2"]),
            vec![
                StatusResponse { vertexes: vec![vertex("a", "RUN echo hunter2")], ..Default::default() },
                StatusResponse { logs: vec![log("a", "it is hun")], ..Default::default() },
                StatusResponse { logs: vec![log("a", "ter2\n50%\r100%\nrest")], ..Default::default() },
            ],
        );
        let step: Arc<str> = "RUN echo ***".into();
        let output = |line: &str| BuildEvent::Output { step: Arc::clone(&step), stderr: false, line: line.into() };
        assert_eq!(
            seen,
            [BuildEvent::StepStarted { step: Arc::clone(&step) }, output("it is ***"), output("100%"), output("rest")]
        );
    }

    #[test]
    fn the_first_failure_counts_and_a_repeated_vertex_does_not() {
        let done = Vertex { completed: time(3), cached: true, ..vertex("a", "FROM x") };
        let bad = Vertex { completed: time(4), error: "exit code: 3".into(), ..vertex("b", "RUN false") };
        let cancelled = Vertex { completed: time(4), error: "context canceled".into(), ..vertex("c", "RUN other") };
        let update = |vertexes| StatusResponse { vertexes, ..Default::default() };
        let seen =
            events(Redactor::default(), vec![update(vec![done.clone()]), update(vec![done, bad.clone(), cancelled])]);
        assert_eq!(
            seen,
            [
                BuildEvent::StepDone { step: "FROM x".into(), cached: true, seconds: 2.0 },
                BuildEvent::StepFailed { step: "RUN false".into(), error: "exit code: 3".into() },
            ]
        );
    }
}
