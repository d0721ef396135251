//! From the stack file to steps and edges: what is written, what references imply, and what the kinds of steps imply.

use std::sync::Arc;

use super::{Builder, Graph, StepId, StepIndex, StepKind, Why};
use crate::config::{
    Check, ConditionCheck, ConfigErrors, HttpCheck, HttpTarget, Image, LoadMode, Need, OutputRef, Run, SecretSource,
    Spanned, StackFile, Template, Value,
};

/// What the Dockerfiles say that bears on the graph. Reading them is for others; the graph does no I/O.
#[derive(Debug, Clone, Default)]
pub struct ImageFacts {
    /// By the name of the image in the stack file: the references that its Dockerfile says `FROM` (or `COPY --from=`,
    /// or `--mount=from=`), build arguments put in, stages of the Dockerfile itself left out.
    pub from: std::collections::HashMap<String, Vec<String>>,
    /// The images whose context has an ignore file.
    pub ignoring: std::collections::HashSet<String>,
}

impl Graph {
    /// The graph of a stack file.
    ///
    /// # Errors
    /// Steps that need each other in a circle.
    pub fn build(stack: &StackFile, facts: &ImageFacts) -> Result<Self, ConfigErrors> {
        let mut building = Building { stack, builder: sized(stack) };
        building.add_steps();
        building.add_edges(facts);
        building.builder.finish(stack.name.value.clone()).map_err(|cycles| {
            ConfigErrors::new(stack.shown(), cycles.iter().map(|cycle| cycle.error(&stack.source)).collect())
        })
    }
}

fn sized(stack: &StackFile) -> Builder {
    let steps = 1 + 2 * stack.images.len() + stack.charts.len() + stack.ready.len() + stack.tasks.len();
    Builder::with_capacity(steps, steps * 2)
}

struct Building<'s> {
    stack: &'s StackFile,
    builder: Builder,
}

impl<'s> Building<'s> {
    fn add_steps(&mut self) {
        let stack = self.stack;
        if stack.cluster.is_some() {
            self.builder.step(StepId::cluster());
        }
        for (name, image) in &stack.images {
            self.builder.step(StepId::new(StepKind::Build, Arc::clone(name)));
            if image.load != LoadMode::None {
                self.builder.step(StepId::new(StepKind::Load, Arc::clone(name)));
            }
        }
        let rest = stack.charts.keys().map(|name| (StepKind::Chart, name));
        let rest = rest.chain(stack.ready.keys().map(|name| (StepKind::Ready, name)));
        let rest = rest.chain(stack.tasks.keys().map(|name| (StepKind::Task, name)));
        for (kind, name) in rest {
            self.builder.step(StepId::new(kind, Arc::clone(name)));
        }
    }

    fn add_edges(&mut self, facts: &ImageFacts) {
        let stack = self.stack;
        for (name, image) in &stack.images {
            self.add_image(name, image, facts);
        }
        for (name, chart) in &stack.charts {
            let Some(step) = self.find(StepKind::Chart, name) else { continue };
            self.cluster(step);
            for value in chart.set.values().chain(chart.set_string.values()).chain(chart.namespace_labels.values()) {
                self.value(step, value, StepKind::Load);
            }
            self.templates(step, &chart.post_render, StepKind::Load);
            self.needs(step, &chart.options.needs);
        }
        for (name, ready) in &stack.ready {
            let Some(step) = self.find(StepKind::Ready, name) else { continue };
            self.cluster(step);
            self.check(step, &ready.check);
            self.templates(step, [&ready.namespace], StepKind::Load);
            self.needs(step, &ready.options.needs);
        }
        for (name, task) in &stack.tasks {
            let Some(step) = self.find(StepKind::Task, name) else { continue };
            self.run(step, &task.run, StepKind::Build);
            task.env.values().for_each(|value| self.value(step, value, StepKind::Build));
            self.needs(step, &task.options.needs);
        }
    }

    fn add_image(&mut self, name: &Arc<str>, image: &'s Image, facts: &ImageFacts) {
        let Some(build) = self.find(StepKind::Build, name) else { return };
        // The node's own daemon builds it: there has to be a node.
        if image.load == LoadMode::Direct {
            self.cluster(build);
        }
        for value in image.args.values().chain(image.labels.values()) {
            self.value(build, value, StepKind::Build);
        }
        for secret in &image.secrets {
            if let SecretSource::Value(template) = &secret.source {
                self.templates(build, [template], StepKind::Build);
            }
        }
        for reference in facts.from.get(name.as_ref()).into_iter().flatten() {
            if let Some(base) = base_of_stack(self.stack, name, reference)
                && let Some(need) = self.find(StepKind::Build, base)
            {
                self.builder.edge(build, need, Why::From(reference.as_str().into()));
            }
        }
        self.needs(build, &image.options.needs);
        if let Some(load) = self.find(StepKind::Load, name) {
            self.builder.edge(load, build, Why::Rule);
            self.cluster(load);
        }
    }

    fn find(&self, kind: StepKind, name: &Arc<str>) -> Option<StepIndex> {
        self.builder.find(&StepId::new(kind, Arc::clone(name)))
    }

    fn cluster(&mut self, step: StepIndex) {
        if let Some(cluster) = self.builder.find(&StepId::cluster()) {
            self.builder.edge(step, cluster, Why::Rule);
        }
    }

    fn needs(&mut self, step: StepIndex, needs: &[Need]) {
        for need in needs {
            // What is not a step has been reported with the file.
            if let Some(index) = self.builder.find(&need.id) {
                self.builder.edge(step, index, Why::Needs(need.span));
            }
        }
    }

    /// The step that makes an output. `image` says which step of an image has to be done: whoever runs pods needs the
    /// load, whoever only uses the image on the host needs the build.
    fn output(&mut self, step: StepIndex, output: &Spanned<OutputRef>, image: StepKind) {
        let need = match &output.value {
            OutputRef::Image { name, .. } => self.find(image, name).or_else(|| self.find(StepKind::Build, name)),
            OutputRef::Chart { name, .. } => self.find(StepKind::Chart, name),
            OutputRef::Task { name } => self.find(StepKind::Task, name),
            OutputRef::ClusterIp => self.builder.find(&StepId::cluster()),
        };
        if let Some(need) = need {
            self.builder.edge(step, need, Why::Output(Box::new(output.clone())));
        }
    }

    fn value(&mut self, step: StepIndex, value: &Value, image: StepKind) {
        value.each_output(&mut |output| self.output(step, output, image));
    }

    fn templates<'v>(&mut self, step: StepIndex, templates: impl IntoIterator<Item = &'v Template>, image: StepKind) {
        for template in templates {
            template.outputs().for_each(|output| self.output(step, output, image));
        }
    }

    fn run(&mut self, step: StepIndex, run: &Run, image: StepKind) {
        match run {
            Run::Argv(argv) => self.templates(step, argv, image),
            Run::Shell(line) => self.templates(step, [line], image),
        }
    }

    fn check(&mut self, step: StepIndex, check: &Check) {
        let image = StepKind::Load;
        match check {
            Check::Workload(template) | Check::Job(template) | Check::Service(template) => {
                self.templates(step, [template], image);
            }
            Check::Http(HttpCheck { target, contains, headers, tls: _, status: _ }) => {
                match target {
                    HttpTarget::Service { service, path, port: _ } => self.templates(step, [service, path], image),
                    HttpTarget::Url(url) => self.templates(step, [url], image),
                }
                self.templates(step, contains, image);
                self.templates(step, headers.values(), image);
            }
            Check::Tcp { service, port: _ } => self.templates(step, [service], image),
            Check::Condition(ConditionCheck { resource, value, field: _ }) => {
                self.templates(step, [resource], image);
                self.value(step, value, image);
            }
            Check::Run { run, env } => {
                self.run(step, run, image);
                env.values().for_each(|value| self.value(step, value, image));
            }
        }
    }
}

/// The image of the stack that the Dockerfile of another one means by a reference: that of the same repository, whatever
/// the tag, since a tag that people give says nothing of what the stack builds. A digest means exactly that image, and an
/// image does not start from itself.
pub fn base_of_stack<'s>(stack: &'s StackFile, name: &str, reference: &str) -> Option<&'s Arc<str>> {
    let repository = (!reference.contains('@')).then(|| repository_of(reference))?;
    let mut others = stack.images.iter().filter(|(other, _)| other.as_ref() != name);
    others.find(|(_, image)| image.repository.value == repository).map(|(other, _)| other)
}

/// A reference without its tag and its digest.
fn repository_of(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or(reference);
    match name.rsplit_once(':') {
        // `host:5000/name` has a port, not a tag.
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_digests_are_no_part_of_a_repository() {
        for (reference, repository) in [
            ("todo-base", "todo-base"),
            ("todo-base:1.2", "todo-base"),
            ("host:5000/todo-base", "host:5000/todo-base"),
            ("host:5000/todo-base:1", "host:5000/todo-base"),
            ("todo-base@sha256:00", "todo-base"),
        ] {
            assert_eq!(repository_of(reference), repository);
        }
    }
}
