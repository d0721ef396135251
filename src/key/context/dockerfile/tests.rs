//! What Dockerfiles tell, and what they do not.

use super::*;

fn read(text: &str) -> DockerfileReading {
    read_dockerfile(text, &DockerfileOptions::default())
}

fn sources(reading: &DockerfileReading) -> Vec<String> {
    match &reading.scope {
        Scope::Narrowed(narrow) => narrow.sources().collect(),
        Scope::Whole { reason } => vec![format!("whole: {reason}")],
    }
}

const STAGES: &str = r#"# syntax=docker/dockerfile:1
ARG PYTHON=3.11
ARG BASE=python:${PYTHON}-slim
FROM ${BASE} AS Builder
ARG SRC=app
COPY requirements.txt ./
RUN --mount=type=secret,id=ca,target=/ca.pem --mount=type=cache,target=/root/.cache pip install -r requirements.txt
COPY ["$SRC/main file.py", "./"]

FROM node:22 AS unused
COPY web /web

FROM debian:bookworm-slim AS runtime
COPY --from=builder /app /app
COPY --from=busybox:stable /bin/sh /sh
RUN --mount=from=tools:1,target=/t --mount=target=/src,source=scripts /src/run.sh
ADD --checksum=sha256:1234 https://example.org/a.tgz /a
ADD https://example.org/b.tgz conf/ /b/
COPY <<EOF /etc/x
FROM nothing
EOF
"#;

#[test]
fn only_what_the_target_needs_is_told() {
    let reading = read(STAGES);
    assert_eq!(reading.bases, ["busybox:stable", "debian:bookworm-slim", "python:3.11-slim", "tools:1"]);
    assert_eq!(sources(&reading), ["app/main file.py", "conf", "requirements.txt", "scripts"]);
    assert_eq!(reading.secrets, ["ca"]);
    assert_eq!(reading.frontend.as_deref(), Some("docker/dockerfile:1"));
    assert_eq!(
        reading.unknowable,
        [
            "`# syntax=docker/dockerfile:1` names an image that reads the Dockerfile: a change of it goes unseen, unless a digest pins it",
            "line 18: `ADD https://example.org/b.tgz` has no checksum: a change of what it fetches goes unseen"
        ]
    );
    assert_eq!(read("# syntax=docker/dockerfile@sha256:00\nFROM scratch\n").unknowable, Vec::<String>::new());
    let fetches = read("FROM a\nADD https://example.org/${UNKNOWN}/x https://example.org/y z /\n");
    assert_eq!(fetches.unknowable.len(), 2, "{fetches:?}");
    assert!(matches!(fetches.scope, Scope::Whole { .. }));

    let args = BTreeMap::from([("PYTHON", "3.12"), ("SRC", "src")]);
    let builder = read_dockerfile(STAGES, &DockerfileOptions { args, target: Some("BUILDER"), ..Default::default() });
    assert_eq!(builder.bases, ["python:3.12-slim"]);
    assert_eq!(sources(&builder), ["requirements.txt", "src/main file.py"]);
    let args = BTreeMap::from([("BUILDKIT_SYNTAX", "docker.io/docker/dockerfile:1-labs x")]);
    let other = read_dockerfile(STAGES, &DockerfileOptions { args, ..Default::default() });
    assert_eq!((other.frontend.as_deref(), &other.scope), (Some("docker.io/docker/dockerfile:1-labs"), &reading.scope));
    let by_number = read_dockerfile(STAGES, &DockerfileOptions { target: Some("1"), ..Default::default() });
    assert_eq!((by_number.bases, by_number.secrets), (vec!["node:22".to_owned()], vec![]));
}

#[test]
fn what_is_not_certain_takes_the_whole_context_and_says_why() {
    let table = [
        ("FROM a\nCOPY . /app", "line 2 takes everything (`.`)"),
        ("FROM a\nCOPY x ./ y/.. /app", "line 2 takes everything (`./`)"),
        ("FROM a\nCOPY **/x /app", "line 2 takes everything (`**/x`)"),
        ("FROM a\nRUN --mount=target=/src make", "line 2 takes everything (`.`)"),
        ("FROM a\nCOPY $WHO /app", "line 2 depends on `$WHO`, which the Dockerfile does not set"),
        ("FROM a\nENV X=1\nENV X=$NONE\nCOPY $X /app", "line 4 depends on `$X`, which the Dockerfile does not set"),
        ("FROM a\nCOPY ${X:-b}* /x", "line 2 depends on `$X`, which the Dockerfile does not set"),
        ("FROM a AS b\nARG X\nFROM b\nCOPY ${X-b} /x", "line 4 depends on `$X`, which the Dockerfile does not set"),
        ("FROM scratch\nENV X=$PATH\nCOPY ${X:+b} c", "line 3 depends on `$X`, which the Dockerfile does not set"),
        ("FROM a-${TARGETARCH:-amd64}\nCOPY a b", "the base image of line 1 is not known"),
        ("FROM $NONE\nCOPY a b", "the base image of line 1 is not known"),
        ("FROM a AS b\nONBUILD COPY . /\nFROM b", "line 3 starts from a stage with ONBUILD instructions"),
        ("# syntax=me/mine\nFROM a", "`# syntax=me/mine` reads the Dockerfile in its own way"),
        ("FROM a\nCOPY --from=$X a b", "line 2 takes its source from a variable"),
        ("FROM a\nRUN --mount=source=\\\"x y", "line 2 depends on `source=\"x`"),
        ("RUN x", "line 1 stands before the first FROM"),
        ("", "there is no such target"),
    ];
    for (text, reason) in table {
        assert_eq!(read(text).scope, Scope::Whole { reason: reason.to_owned() }, "{text}");
    }
}

#[test]
fn flags_may_be_quoted_and_options_of_mounts_in_capitals() {
    let text = r#"FROM a AS base
FROM b
COPY --from="base" / /
COPY --from='tools:1' / /
RUN --mount=type=bind,source="x",target=/x --mount=Source=y,Target=/y make
RUN --mount=type=cache,FROM="cache:1",target=/c make
COPY --from="" z /z
"#;
    let reading = read(text);
    assert_eq!(reading.bases, ["a", "b", "cache:1", "tools:1"]);
    assert_eq!(sources(&reading), ["x", "y", "z"]);
}

#[test]
fn variables_come_from_arguments_defaults_and_stages_below() {
    let text = "ARG V=1\nFROM a:$V AS base\nARG V\nENV DIR=src/$V\nENV OLD some $V\nFROM base\nCOPY $DIR /x\n";
    assert_eq!(sources(&read(text)), ["src/1"]);
    let args = BTreeMap::from([("V", "2")]);
    let reading = read_dockerfile(text, &DockerfileOptions { args, ..Default::default() });
    assert_eq!((sources(&reading), reading.bases), (vec!["src/2".to_owned()], vec!["a:2".to_owned()]));

    let text =
        "ARG A=${NONE:-n}\nFROM scratch AS s\nARG A\nCOPY $A ${NONE:-b} c\nFROM s\nENV B=x\nCOPY ${B:+d} ${C-e} f\n";
    assert_eq!(sources(&read(text)), ["b", "d", "e", "n"]);

    let text = "FROM --platform=$BUILDPLATFORM a-$TARGETARCH\n";
    assert_eq!(read(text).unknowable.len(), 1);
    let options = DockerfileOptions { platform: Some("linux/arm64"), ..Default::default() };
    assert_eq!(read_dockerfile(text, &options).bases, ["a-arm64"]);
}

#[test]
fn a_base_image_may_bring_copies_along() {
    let reading = read("FROM a\nCOPY x y");
    assert_eq!(sources(&reading.clone().with_on_build("a", &["ENV A=1".into()])), ["x"]);
    let whole = reading.with_on_build("a", &["COPY . /app".into()]);
    assert_eq!(sources(&whole), ["whole: the base image a brings along `ONBUILD COPY . /app`"]);
    assert!(whole.unknowable.is_empty());
}

#[test]
fn what_triggers_take_from_elsewhere_is_told() {
    for trigger in [
        "COPY --from=tools:1 /a /a",
        "RUN --mount=type=bind,from=tools:1 make",
        "ADD https://a/b /c",
        r#"ADD --chown=1 ["https://a/b", "/c"]"#,
    ] {
        let brought = read("FROM a\nCOPY x y").with_on_build("a", &[trigger.into()]);
        assert!(brought.unknowable[0].contains(trigger), "{brought:?}");
        let own = read(&format!("FROM a AS b\nONBUILD {trigger}\nFROM b"));
        assert!(own.unknowable[0].contains(trigger), "{own:?}");
    }
    let checked = "ADD --checksum=sha256:00 https://a/b /c";
    assert_eq!(read("FROM a").with_on_build("a", &[checked.into()]).unknowable, Vec::<String>::new());
}

/// `COPY --from` finds stages that stand behind it and of two with one name the last, `FROM` the last before it.
#[test]
fn what_is_copied_from_a_stage_behind_is_that_stage() {
    let stages =
        "FROM scratch AS x\nCOPY --from=y /a /b\nRUN --mount=from=Y,target=/c,source=/d e\nFROM late AS y\nCOPY f /g\n";
    for text in [stages, &stages.replace("COPY --from=y", "COPY --from=1")] {
        let reading = read_dockerfile(text, &DockerfileOptions { target: Some("x"), ..Default::default() });
        assert_eq!((&reading.bases[..], sources(&reading)), (&["late".to_owned()][..], vec!["f".to_owned()]), "{text}");
    }
    let twice = "FROM a AS x\nFROM x AS t\nCOPY --from=x / /\nFROM b AS x\n";
    let reading = read_dockerfile(twice, &DockerfileOptions { target: Some("t"), ..Default::default() });
    assert_eq!(reading.bases, ["a", "b"]);
}

#[test]
fn what_is_fetched_is_told_from_what_is_copied() {
    for remote in ["https://a/b", "git@host:a/b.git", "me@host:repository.git"] {
        assert_eq!(read(&format!("FROM scratch\nADD {remote} /x")).unknowable.len(), 1, "{remote}");
    }
    for local in ["a@b", "a/b@c:d", "@host:a", "a@b/c:d"] {
        let reading = read(&format!("FROM scratch\nADD {local} /x"));
        assert_eq!((reading.unknowable.len(), sources(&reading)), (0, vec![local.to_owned()]), "{local}");
    }
}

#[test]
fn a_build_without_context_reaches_nothing() {
    assert_eq!(sources(&read("FROM scratch\nCOPY --from=a /x /y")), Vec::<String>::new());
}

#[test]
fn noise_is_read_without_a_panic() {
    let mut text = STAGES.to_owned();
    while text.pop().is_some() {
        let _ = read(&text);
        let _ = read(&text.replace("from", "$").replace('"', "\\"));
        // Flags that end in the middle of a quote, behind a backslash, or in the middle of a character.
        for noise in ["\"", "'", "\\", "\"\"", ",\"", "à", "\u{85}"] {
            let _ = read(&text.replace('=', &format!("={noise}")).replace(',', &format!(",{noise}")));
            let _ = read(&text.replace("--", &format!("--{noise}")));
        }
    }
}
