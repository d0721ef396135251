//! Reads a Dockerfile as far as it says what its build depends on: base images, the part of the context that is
//! reached, secrets, and what nobody can know before the build.
//!
//! It never refuses a Dockerfile: the engine does that, in its own words. Where the text does not tell for certain, the
//! whole context is taken, and the reason is told.

mod lines;
mod mounts;
mod pin;
mod words;

pub use pin::{Unpinned, pin_bases};

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lines::{Instruction, Lines, is_here_document};
use mounts::{Kind, mounts};
use words::{Unsure, Variables, expand, list, quoted_words};

use super::narrow::Narrow;
use super::read::Scope;

/// What is given to a build beside its Dockerfile.
#[derive(Debug, Clone, Default)]
pub struct DockerfileOptions<'a> {
    /// Build arguments.
    pub args: BTreeMap<&'a str, &'a str>,
    /// The stage to build; the last one when there is none.
    pub target: Option<&'a str>,
    /// The platform to build for, `linux/amd64`, when it is known.
    pub platform: Option<&'a str>,
}

/// What a build depends on, as its Dockerfile tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerfileReading {
    /// The images it starts from or copies from, variables put in; each once, in byte order.
    pub bases: Vec<String>,
    /// The image of the frontend that `# syntax=` names, or the build argument `BUILDKIT_SYNTAX`.
    pub frontend: Option<String>,
    /// What it reaches of the context.
    pub scope: Scope,
    /// The ids of the secrets that it mounts; each once, in byte order.
    pub secrets: Vec<String>,
    /// What cannot be known before the build, each told in a sentence: a download without a checksum.
    pub unknowable: Vec<String>,
}

/// Reads a Dockerfile.
pub fn read_dockerfile(text: &str, options: &DockerfileOptions<'_>) -> DockerfileReading {
    let lines = Lines::of(text);
    let mut reader = Reader::new(options, lines.escape);
    reader.split(&lines.instructions);
    let given = options.args.get("BUILDKIT_SYNTAX").and_then(|given| given.split_whitespace().next());
    let frontend = given.map(str::to_owned).or(lines.syntax);
    if let Some(frontend) = frontend.as_deref().filter(|frontend| !is_dockers_own(frontend)) {
        reader.whole(format!("`# syntax={frontend}` reads the Dockerfile in its own way"));
    }
    if let Some(frontend) = frontend.as_deref().filter(|frontend| !frontend.contains('@')) {
        reader.unknowable.push(format!(
            "`# syntax={frontend}` names an image that reads the Dockerfile: a change of it goes unseen, unless a digest pins it"
        ));
    }
    reader.follow();
    let scope = match reader.whole {
        Some(reason) => Scope::Whole { reason },
        None => match Narrow::new(reader.sources.iter().map(String::as_str)) {
            Some(narrow) => Scope::Narrowed(narrow),
            None => Scope::Whole { reason: "everything is copied".to_owned() },
        },
    };
    DockerfileReading {
        bases: reader.bases.into_iter().collect(),
        frontend,
        scope,
        secrets: reader.secrets.into_iter().collect(),
        unknowable: reader.unknowable,
    }
}

impl DockerfileReading {
    /// Takes into account the `ONBUILD` instructions of a base image, which the engine knows and the Dockerfile does
    /// not tell: they may copy anything.
    #[must_use]
    pub fn with_on_build(mut self, base: &str, triggers: &[String]) -> Self {
        let copies = |trigger: &String| {
            let name = trigger.split_whitespace().next().unwrap_or_default();
            !["ENV", "LABEL", "USER", "WORKDIR", "EXPOSE", "ARG", "CMD"]
                .iter()
                .any(|one| name.eq_ignore_ascii_case(one))
        };
        if let Some(trigger) = triggers.iter().find(|trigger| copies(trigger))
            && matches!(self.scope, Scope::Narrowed(_))
        {
            self.scope = Scope::Whole { reason: format!("the base image {base} brings along `ONBUILD {trigger}`") };
        }
        let from = triggers.iter().filter(|trigger| takes_from_elsewhere(trigger));
        self.unknowable.extend(from.map(|trigger| {
            format!(
                "the base image {base} brings along `ONBUILD {trigger}`: a change of what that takes from goes unseen"
            )
        }));
        self
    }
}

/// Docker's own frontends understand the language that is read here.
fn is_dockers_own(frontend: &str) -> bool {
    let name = frontend.strip_prefix("docker.io/").unwrap_or(frontend);
    let name = name.split(['@', ':']).next().unwrap_or(name);
    matches!(name, "docker/dockerfile" | "docker/dockerfile-upstream")
}

struct Stage<'a> {
    name: Option<String>,
    /// The line of its `FROM`.
    line: u32,
    /// What it starts from, variables put in.
    base: Result<String, Unsure>,
    instructions: Vec<&'a Instruction>,
}

struct Reader<'a> {
    options: &'a DockerfileOptions<'a>,
    escape: char,
    globals: Variables,
    stages: Vec<Stage<'a>>,
    bases: BTreeSet<String>,
    sources: BTreeSet<String>,
    secrets: BTreeSet<String>,
    unknowable: Vec<String>,
    whole: Option<String>,
}

impl<'a> Reader<'a> {
    fn new(options: &'a DockerfileOptions<'a>, escape: char) -> Self {
        let mut reader = Self {
            options,
            escape,
            globals: Variables::default(),
            stages: Vec::new(),
            bases: BTreeSet::new(),
            sources: BTreeSet::new(),
            secrets: BTreeSet::new(),
            unknowable: Vec::new(),
            whole: None,
        };
        reader.platform_variables();
        reader
    }

    fn whole(&mut self, reason: String) {
        self.whole.get_or_insert(reason);
    }

    /// The variables that every build has for the platform that it builds for.
    fn platform_variables(&mut self) {
        // The engine has values for these, which are not known here unless they follow from the platform.
        for name in ["PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT"] {
            self.globals.set_unknown(format!("BUILD{name}"));
            self.globals.set_unknown(format!("TARGET{name}"));
        }
        self.globals.set_unknown("TARGETSTAGE");
        let Some(platform) = self.options.platform else { return };
        let mut parts = platform.split('/');
        self.globals.set("TARGETPLATFORM", platform);
        for name in ["TARGETOS", "TARGETARCH", "TARGETVARIANT"] {
            self.globals.set(name, parts.next().unwrap_or_default());
        }
    }

    /// Splits the instructions into stages, putting variables into the `FROM` lines.
    fn split(&mut self, instructions: &'a [Instruction]) {
        for instruction in instructions {
            match instruction.name.as_str() {
                "FROM" => {
                    let words: Vec<&str> = instruction.rest.split_whitespace().collect();
                    let name = match words.as_slice() {
                        [_, keyword, name, ..] if keyword.eq_ignore_ascii_case("as") => Some(name.to_lowercase()),
                        _ => None,
                    };
                    let base = expand(words.first().unwrap_or(&""), &self.globals, self.escape);
                    self.stages.push(Stage { name, line: instruction.line, base, instructions: Vec::new() });
                }
                "ARG" if self.stages.is_empty() => {
                    let mut globals = std::mem::take(&mut self.globals);
                    let declared = Variables::default();
                    if let Err(unsure) = self.argument(instruction, &mut globals, &declared) {
                        self.whole(told(instruction, &unsure));
                    }
                    self.globals = globals;
                }
                _ => match self.stages.last_mut() {
                    Some(stage) => stage.instructions.push(instruction),
                    // The engine refuses this; nothing can be told of it.
                    None => self.whole(format!("line {} stands before the first FROM", instruction.line)),
                },
            }
        }
    }

    /// Goes through the stages that the target needs.
    fn follow(&mut self) {
        let Some(target) = self.target() else {
            self.whole("there is no such target".to_owned());
            return;
        };
        let mut waiting = vec![target];
        let mut seen = BTreeSet::new();
        let mut left: HashMap<usize, Variables> = HashMap::new();
        let mut needed = Vec::new();
        while let Some(index) = waiting.pop() {
            if !seen.insert(index) {
                continue;
            }
            needed.push(index);
            waiting.extend(self.needs(index));
        }
        // A stage starts with the variables of the stage that it starts from, which stands before it.
        needed.sort_unstable();
        for index in needed {
            let inherited = self.base_stage(index).and_then(|base| left.get(&base).cloned());
            let inherited = inherited.unwrap_or_else(|| self.before_stage(index));
            let variables = self.stage(index, inherited);
            left.insert(index, variables);
        }
    }

    fn target(&self) -> Option<usize> {
        match self.options.target.filter(|target| !target.is_empty()) {
            None => self.stages.len().checked_sub(1),
            Some(name) => self
                .named(name, self.stages.len())
                .or_else(|| name.parse().ok().filter(|index| *index < self.stages.len())),
        }
    }

    /// The last stage of that name among the first `before`.
    fn named(&self, name: &str, before: usize) -> Option<usize> {
        let name = name.to_lowercase();
        self.stages[..before].iter().rposition(|stage| stage.name.as_deref() == Some(&name))
    }

    fn base_stage(&self, index: usize) -> Option<usize> {
        let base = self.stages[index].base.as_ref().ok()?;
        self.named(base, index)
    }

    /// The variables that a stage has which starts from no other.
    fn before_stage(&self, index: usize) -> Variables {
        if self.stages[index].base.as_deref() != Ok("scratch") {
            return Variables::of_base();
        }
        let mut variables = Variables::default();
        // The engine gives it to all that runs.
        variables.set_unknown("PATH");
        variables
    }

    /// The stages that this one starts from, copies from or mounts.
    fn needs(&self, index: usize) -> Vec<usize> {
        let mut needs: Vec<usize> = self.base_stage(index).into_iter().collect();
        for instruction in &self.stages[index].instructions {
            needs.extend(sources_from(instruction, self.escape).into_iter().filter_map(|name| self.other_stage(&name)));
        }
        needs
    }

    /// `--from=NAME` or `--from=NUMBER`. Unlike `FROM`, the engine looks for it among all stages, also those behind, and takes
    /// the last of that name.
    fn other_stage(&self, name: &str) -> Option<usize> {
        let all = self.stages.len();
        self.named(name, all).or_else(|| name.parse().ok().filter(|index| *index < all))
    }

    /// Reads one stage; gives the variables at its end.
    fn stage(&mut self, index: usize, mut variables: Variables) -> Variables {
        let line = self.stages[index].line;
        match self.stages[index].base.clone() {
            Ok(base) if base.is_empty() => self.whole(format!("line {line} names no base image")),
            Ok(base) if base == "scratch" => {}
            Ok(base) => {
                if let Some(stage) = self.named(&base, index) {
                    let inside = self.stages[stage].instructions.iter();
                    let triggers: Vec<_> =
                        inside.filter(|one| one.name == "ONBUILD").map(|one| one.rest.clone()).collect();
                    let from = triggers.iter().filter(|trigger| takes_from_elsewhere(trigger));
                    self.unknowable.extend(from.map(|trigger| {
                        format!("line {line}: a change of what `ONBUILD {trigger}` takes from goes unseen")
                    }));
                    if !triggers.is_empty() {
                        self.whole(format!("line {line} starts from a stage with ONBUILD instructions"));
                    }
                } else {
                    self.bases.insert(base);
                }
            }
            Err(unsure) => {
                self.unknowable.push(format!("line {line}: the base image depends on {}", unsure.told()));
                self.whole(format!("the base image of line {line} is not known"));
            }
        }
        let globals = self.globals.clone();
        for instruction in self.stages[index].instructions.clone() {
            for name in sources_from(instruction, self.escape) {
                if name.contains('$') {
                    self.whole(format!("line {} takes its source from a variable", instruction.line));
                } else if self.other_stage(&name).is_none() && name != "scratch" {
                    self.bases.insert(name);
                }
            }
            let done = match instruction.name.as_str() {
                "ARG" => self.argument(instruction, &mut variables, &globals),
                "ENV" => {
                    self.environment(instruction, &mut variables);
                    Ok(())
                }
                "COPY" | "ADD" => self.copy(instruction, &variables),
                "RUN" => self.mounts(instruction),
                _ => Ok(()),
            };
            if let Err(unsure) = done {
                self.whole(told(instruction, &unsure));
            }
        }
        variables
    }

    /// `ARG A B=default`: a build argument wins over the default, and an `ARG` before the first `FROM` gives its value
    /// to one without a default.
    fn argument(
        &mut self,
        instruction: &Instruction,
        variables: &mut Variables,
        globals: &Variables,
    ) -> Result<(), Unsure> {
        for word in quoted_words(&instruction.rest, self.escape) {
            let (name, default) = match word.split_once('=') {
                Some((name, default)) => (name.to_owned(), Some(expand(default, variables, self.escape))),
                None => (word, None),
            };
            let value = match (self.options.args.get(name.as_str()), default) {
                (Some(given), _) => (*given).to_owned(),
                (None, Some(default)) => default?,
                (None, None) => match globals.get(&name) {
                    Ok(Some(value)) => value.to_owned(),
                    // Declared without any value: not set, unless something before did.
                    Ok(None) => continue,
                    Err(_) => {
                        variables.set_unknown(name);
                        continue;
                    }
                },
            };
            variables.set(name, value);
        }
        Ok(())
    }

    /// `ENV A=1 B=2`: every value sees the variables as they were before the instruction.
    fn environment(&self, instruction: &Instruction, variables: &mut Variables) {
        let before = variables.clone();
        let words = quoted_words(&instruction.rest, self.escape);
        let mut set = |name: &str, value: &str| match expand(value, &before, self.escape) {
            Ok(value) => variables.set(name, value),
            // It does no harm until it is used.
            Err(_) => variables.set_unknown(name),
        };
        match words.first() {
            // The old form: `ENV NAME all the rest`.
            Some(first) if !first.contains('=') => {
                set(first, instruction.rest.strip_prefix(first.as_str()).unwrap_or_default().trim());
            }
            Some(_) | None => {
                words.iter().filter_map(|word| word.split_once('=')).for_each(|(name, value)| set(name, value));
            }
        }
    }

    fn copy(&mut self, instruction: &Instruction, variables: &Variables) -> Result<(), Unsure> {
        if copied_from(instruction).is_some() {
            return Ok(());
        }
        let words = list(&instruction.rest);
        let checked = is_checked(instruction);
        let Some((_, sources)) = words.split_last() else { return Ok(()) };
        let mut unsure = None;
        for source in sources.iter().filter(|source| !is_here_document(source)) {
            let expanded = expand(source, variables, self.escape);
            let shown = expanded.as_ref().unwrap_or(source);
            let is_fetched = instruction.name == "ADD" && is_remote(shown);
            if is_fetched && !checked {
                self.unknowable.push(format!(
                    "line {}: `ADD {shown}` has no checksum: a change of what it fetches goes unseen",
                    instruction.line
                ));
            }
            match expanded {
                Ok(source) if !is_fetched => self.source(&source, instruction.line),
                Ok(_) => {}
                Err(why) => unsure = Some(why),
            }
        }
        unsure.map_or(Ok(()), Err)
    }

    fn source(&mut self, source: &str, line: u32) {
        match Narrow::new([source]) {
            Some(_) => drop(self.sources.insert(source.to_owned())),
            None => self.whole(format!("line {line} takes everything (`{source}`)")),
        }
    }

    /// `RUN --mount=type=bind,source=…` and `RUN --mount=type=secret,id=…`.
    fn mounts(&mut self, instruction: &Instruction) -> Result<(), Unsure> {
        for mount in mounts(instruction, self.escape) {
            let mount = mount?;
            match mount.kind {
                Kind::Bind if mount.from.is_none() => {
                    self.source(mount.source.as_deref().unwrap_or("."), instruction.line);
                }
                Kind::Secret(id) => self.secrets.extend(id),
                Kind::Bind | Kind::Other => {}
            }
        }
        Ok(())
    }
}

impl Unsure {
    fn told(&self) -> String {
        match self {
            Self::Variable(name) => format!("`${name}`, which the Dockerfile does not set"),
            Self::Form(text) => format!("`{text}`"),
        }
    }
}

fn told(instruction: &Instruction, unsure: &Unsure) -> String {
    format!("line {} depends on {}", instruction.line, unsure.told())
}

/// The stages or images that an instruction copies from or mounts.
fn sources_from(instruction: &Instruction, escape: char) -> Vec<String> {
    match instruction.name.as_str() {
        "COPY" | "ADD" => copied_from(instruction).map(str::to_owned).into_iter().collect(),
        _ => mounts(instruction, escape).filter_map(|mount| mount.ok()?.from).collect(),
    }
}

/// What `COPY --from=…` names. An empty name is the context.
fn copied_from(instruction: &Instruction) -> Option<&str> {
    let mut from = instruction.flags.iter().filter(|(name, value)| name == "from" && !value.is_empty());
    from.next_back().map(|(_, value)| value.as_str())
}

/// Whether what `ONBUILD` begins takes files from a stage or an image, or fetches them.
fn takes_from_elsewhere(trigger: &str) -> bool {
    let fetches = |one: &Instruction| {
        one.name == "ADD" && !is_checked(one) && list(&one.rest).iter().any(|source| is_remote(source))
    };
    trigger.split_whitespace().any(|word| word.starts_with("--") && word.contains("from="))
        || Lines::of(trigger).instructions.iter().any(fetches)
}

/// Whether it says what it fetches has to be.
fn is_checked(instruction: &Instruction) -> bool {
    instruction.flags.iter().any(|(name, value)| name == "checksum" && !value.is_empty())
}

/// What `ADD` fetches instead of copying.
fn is_remote(source: &str) -> bool {
    let schemes = ["http://", "https://", "ftp://", "git://", "ssh://"];
    // `git@host:repository`, as ssh names it.
    let at_host = source.split_once('@').and_then(|(user, rest)| Some((user, rest.split_once(':')?.0)));
    let is_ssh = at_host.is_some_and(|(user, host)| !format!("{user}{host}").contains('/') && !user.is_empty());
    is_ssh || schemes.iter().any(|scheme| source.starts_with(scheme))
}

#[cfg(test)]
mod tests;
