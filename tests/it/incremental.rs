//! Nothing is done twice, nothing is skipped wrongly, and plan says beforehand what apply then does.
//!
//! Needs the test bed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use crate::chart_support;
use crate::small::{self, STEPS, agree, assert_right, expect, expect_nothing, field, shell};
use crate::support::{Bed, Project, Running, host_docker, succeed, with_outcome};

const ALL_OF_BASE: [&str; 6] = ["build:base", "build:top", "chart:one", "chart:two", "load:base", "load:top"];

#[test]
fn every_edit_is_seen_and_named_and_nothing_else_is() {
    let bed = Bed::get();
    let mut project = small::project(&bed, "edits");
    assert_eq!(
        agree(&project, "nothing yet").1,
        STEPS.iter().filter(|step| **step != "cluster").copied().collect::<Vec<_>>()
    );
    expect_nothing(&project, "the first apply");
    let first = field(&bed, &project, "one", "image");

    // What counts: content, place, name, executable bit, kind, target.
    let base = project.path().join("base");
    project.write("base/app/a", "A\n");
    expect(&project, "an edit", "build:base", "~ app/a", &ALL_OF_BASE);
    project.write("base/app/a", "a\n");
    let (plan, ran) = agree(&project, "the way back");
    assert_eq!(plan["build:base"].0, "skip", "the image of then is still there");
    assert_eq!(ran, ["chart:one", "chart:two"], "A -> B -> A deploys A again");
    assert_eq!(field(&bed, &project, "one", "image"), first);
    fs::rename(base.join("app/b"), base.join("app/c")).unwrap();
    expect(&project, "a new name", "build:base", "+ app/c, - app/b", &ALL_OF_BASE);
    fs::create_dir(base.join("app/sub")).unwrap();
    fs::rename(base.join("app/c"), base.join("app/sub/c")).unwrap();
    expect(&project, "a new place", "build:base", "+ app/sub/c", &ALL_OF_BASE);
    fs::set_permissions(base.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    expect(&project, "an executable bit", "build:base", "~ run.sh", &ALL_OF_BASE);
    fs::remove_file(base.join("app/sub/c")).unwrap();
    symlink("../a", base.join("app/sub/c")).unwrap();
    expect(&project, "a link instead", "build:base", "~ app/sub/c", &ALL_OF_BASE);
    fs::remove_file(base.join("app/sub/c")).unwrap();
    symlink("../../run.sh", base.join("app/sub/c")).unwrap();
    expect(&project, "another target", "build:base", "~ app/sub/c", &ALL_OF_BASE);
    project.edit("stack.toml", "plain", "sweet");
    expect(&project, "an argument", "build:base", "arg FLAVOUR plain -> sweet", &ALL_OF_BASE);
    project.write("top/two", "2\n");
    expect(&project, "a new file", "build:top", "+ two", &["build:top", "chart:two", "load:top"]);
    assert_right(&bed, &project, "all edits of images");

    // The same image stops at the build.
    project.append("base/Dockerfile", "# a remark\n");
    expect(&project, "a remark", "build:base", "~ Dockerfile", &["build:base"]);

    // Charts, values, tasks.
    project.edit("stack.toml", "colour = \"red\"", "colour = \"blue\"");
    expect(&project, "a value", "chart:one", "values colour red -> blue", &["chart:one"]);
    project.append("one.yaml", "more: 1\n");
    expect(&project, "a values file", "chart:one", "~ one.yaml", &["chart:one"]);
    project.write("chart/files/text", "other\n");
    expect(&project, "a file of the chart", "chart:two", "~ chart/files/text", &["chart:one", "chart:two"]);
    project.set_env("TOKEN", "hunter2-secret");
    expect(&project, "a secret", "chart:one", "values token", &["chart:one"]);
    project.write("names/b", "bob\n");
    expect(&project, "an input of a task", "task:list", "+ names/b", &["task:list"]);
    assert_right(&bed, &project, "all edits");

    // What does not count.
    project.write("base/README.md", "Still nobody copies this.\n");
    project.write("top/notes.tmp", "ignored");
    project.write("top/skipped/deep/file", "ignored");
    project.write("chart/old.bak", "ignored");
    shell(&project, "find . -not -path './.stack*' -exec touch {} +; chmod -R go-rwx base; chown -R 65534 top chart");
    expect_nothing(&project, "touch, chmod, chown and files that nobody looks at");
    shell(&project, "git init -q . && git add . && git -c user.name=a -c user.email=a@b commit -qm one");
    project.write("base/app/a", "on a branch\n");
    project.write("chart/files/text", "on a branch\n");
    shell(&project, "git stash -q");
    expect_nothing(&project, "git, there and back");
    shell(
        &project,
        "mkdir deep && mv base deep && sed -i 's,context = \"base\",context = \"./deep/base\",' stack.toml",
    );
    expect_nothing(&project, "another folder for the same context");
    shell(&project, "mv deep/base . && sed -i 's,context = \"./deep/base\",context = \"base\",' stack.toml");
    let elsewhere = Project::empty("edits");
    shell(&project, &format!("cp -a base top chart one.yaml names out stack.toml {}/", elsewhere.path().display()));
    let run = elsewhere.command(&["apply", "--format", "json"]).env("TOKEN", "hunter2-secret").output().unwrap();
    let outcomes = crate::support::Run::new(&["apply"], run).expect_code(0).outcomes();
    assert_eq!(with_outcome(&outcomes, "done"), ["task:list"], "another folder: only a task's record is local");

    // A machine that has never run it can tell what changed since somebody else did.
    fs::remove_dir_all(elsewhere.path().join(".stack")).unwrap();
    elsewhere.write("base/app/a", "edited there\n");
    elsewhere.edit("stack.toml", "colour = \"blue\"", "colour = \"green\"");
    for (step, changes) in [("build:base", "~ app/a"), ("chart:one", "values colour blue -> green")] {
        let why = elsewhere.command(&["why", step]).env("TOKEN", "hunter2-secret").output().unwrap();
        let why = crate::support::Run::new(&["why", step], why).expect_code(0).stdout;
        assert!(why.contains(changes), "{why}");
        assert!(!why.contains("hunter2"), "{why}");
    }
}

#[test]
fn whatever_is_done_by_hand_is_named_and_exactly_repaired() {
    let bed = Bed::get();
    let project = small::project(&bed, "hand");
    project.apply();
    let kubectl = |args: &[&str]| bed.kubectl(&[&["-n", project.name.as_str()], args].concat());
    let helm = |args: &[&str]| {
        succeed(Command::new("helm").args(["--kube-context", &bed.profile, "-n", &project.name]).args(args));
    };
    let one = field(&bed, &project, "one", "image");
    let two = field(&bed, &project, "two", "image");

    kubectl(&["patch", "configmap/one", "-p", r#"{"data": {"colour": "green"}}"#]);
    expect(
        &project,
        "an edit",
        "chart:one",
        "ConfigMap one was edited in the cluster: data.colour red -> green",
        &["chart:one"],
    );
    kubectl(&["patch", "secret/one", "-p", r#"{"stringData": {"token": "guessed"}}"#]);
    expect(&project, "an edited secret", "chart:one", "[secret] -> [secret]", &["chart:one"]);
    kubectl(&["delete", "configmap/two"]);
    expect(&project, "a deletion", "chart:two", "ConfigMap two is gone from the cluster", &["chart:two"]);
    kubectl(&["annotate", "configmap/two", "note=hello"]);
    kubectl(&["label", "configmap/two", "note=hello"]);
    expect_nothing(&project, "what is no edit of what the chart says");

    helm(&["uninstall", "one"]);
    expect(&project, "helm uninstall", "chart:one", "release one is not installed", &["chart:one"]);
    let chart = project.path().join("chart").display().to_string();
    helm(&["upgrade", "two", &chart, "--reuse-values", "--set", "colour=by-hand"]);
    expect(&project, "helm upgrade", "chart:two", "release was changed by hand", &["chart:two"]);
    helm(&["rollback", "two", "1"]);
    expect(&project, "helm rollback", "chart:two", "release was rolled back by hand", &["chart:two"]);
    assert_right(&bed, &project, "repairs of releases");

    bed.remove_from_nodes(&two);
    expect(&project, "an image gone from the node", "load:top", "image is gone from node", &["load:top"]);
    bed.tag_on_nodes("busybox:stable", &two);
    expect(&project, "an image retagged on the node", "load:top", "is another image on node", &["load:top"]);
    // Gone from the host with all its names; the same files give the same image.
    let names = host_docker(&["image", "inspect", "--format", "{{join .RepoTags \" \"}}", &two]);
    let names = String::from_utf8(names.stdout).unwrap();
    let names: Vec<&str> = names.split_whitespace().collect();
    host_docker(&[&["image", "rm", "--force"], names.as_slice()].concat());
    expect(
        &project,
        "an image gone from the host",
        "build:top",
        "image is gone from the Docker engine",
        &["build:top"],
    );
    let names = host_docker(&["image", "inspect", "--format", "{{join .RepoTags \" \"}}", &one]);
    let names = String::from_utf8(names.stdout).unwrap();
    let key = names.split_whitespace().find(|name| name.contains(":k-")).expect("a tag of the key");
    host_docker(&["tag", "busybox:stable", key]);
    expect(&project, "an image retagged on the host", "build:base", "the image was retagged by hand", &["build:base"]);
    fs::remove_file(project.path().join("out/names")).unwrap();
    expect(&project, "a task's output", "task:list", "its output out/names is gone", &["task:list"]);

    fs::remove_dir_all(project.path().join(".stack")).unwrap();
    expect(&project, "no .stack", "task:list", "it has not run here with success yet", &["task:list"]);
    expect_nothing(&project, "all of it");
    assert_right(&bed, &project, "all repairs");
}

/// Two images on one base, which a step between them moves: what was seen of it before does not count any more.
/// Helm merges what the chart says with what is there: of itself it would keep a port or a label of a selector that was added,
/// and fail where two ports then have one name.
#[test]
fn ports_and_selectors_that_were_edited_by_hand_are_put_right() {
    const SERVICE: &str = r#"
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec:
  type: NodePort
  selector: {app: {{ .Release.Name }}}
  ports: [{port: 80, name: http}, {port: 81, name: other}]
"#;
    let bed = Bed::get();
    for major in [3, 4] {
        let mut project = chart_support::project(&bed, "ports");
        chart_support::use_helm(&mut project, major);
        project.append("web/templates/all.yaml", SERVICE);
        project.edit(
            "web/templates/all.yaml",
            "imagePullPolicy: Never\n          command",
            "imagePullPolicy: Never\n          ports: [{containerPort: 80, name: http}]\n          command",
        );
        project.apply();
        let get = |path: &str| {
            bed.kubectl(&["-n", &project.name, "get", "service/web", "-o", &format!("jsonpath={{{path}}}")])
        };
        let other = get(".spec.ports[?(@.name==\"other\")].nodePort");
        let edits = [
            (
                "service/web",
                r#"{"op": "add", "path": "/spec/selector/more", "value": "x"}"#,
                "spec.selector.more nothing -> x",
            ),
            (
                "service/web",
                r#"{"op": "replace", "path": "/spec/ports/0/port", "value": 8080}"#,
                "spec.ports[8080] nothing -> {",
            ),
            (
                "service/web",
                r#"{"op": "add", "path": "/spec/ports/-", "value": {"port": 22, "name": "ssh"}}"#,
                "spec.ports[22] nothing -> {",
            ),
            (
                "deployment/web",
                r#"{"op": "replace", "path": "/spec/template/spec/containers/0/ports/0/containerPort", "value": 8080}"#,
                "containers[main].ports[80]",
            ),
        ];
        for (object, patch, reason) in edits {
            bed.kubectl(&["-n", &project.name, "patch", object, "--type=json", "-p", &format!("[{patch}]")]);
            expect(&project, patch, "chart:web", reason, &["chart:web"]);
            expect_nothing(&project, "the repair");
        }
        assert_eq!(
            (get(".spec.selector"), get(".spec.ports[*].port")),
            (r#"{"app":"web"}"#.to_owned(), "80 81".to_owned())
        );
        assert_eq!(get(".spec.ports[?(@.name==\"other\")].nodePort"), other, "what nobody edited stays");
    }
}

#[test]
fn what_is_in_a_namespace_that_is_being_deleted_counts_as_gone() {
    let bed = Bed::get();
    let project = chart_support::project(&bed, "going");
    project.apply();
    // Held, so that it is looked at while it goes.
    let held = ["-n", &project.name, "patch", "secret/sh.helm.release.v1.web.v1", "--type=merge", "-p"];
    bed.kubectl(&[&held[..], &[r#"{"metadata": {"finalizers": ["stack.dev/held"]}}"#]].concat());
    bed.kubectl(&["delete", "namespace", &project.name, "--wait=false"]);
    let (action, reason) = project.plan().remove("chart:web").unwrap();
    assert_eq!((action.as_str(), reason), ("run", format!("namespace {} is being deleted", project.name)));
    bed.kubectl(&[&held[..], &[r#"{"metadata": {"finalizers": null}}"#]].concat());
    assert_eq!(project.apply()["chart:web"], "done");
    expect_nothing(&project, "the namespace was made again");
}

#[test]
fn a_base_image_that_a_step_moves_is_seen_by_the_builds_after_it() {
    let project = Project::on_the_bed("moves");
    let image =
        |name: &str| format!("[image.{name}]\ncontext = \"src\"\nlabels = {{ name = \"{name}\" }}\nload = \"none\"\n");
    project.write(
        "stack.toml",
        &format!(
            "[stack]\nname = \"@name@\"\n{}{}needs = [\"task.move\"]\n[task.move]\n\
             run = \"docker tag @name@:$(cat which) @name@:base\"\ninputs = [\"which\"]\n",
            image("before"),
            image("after")
        ),
    );
    project.write("src/Dockerfile", "FROM @name@:base\nLABEL a=b\n");
    project.write("which", "one");
    for version in ["one", "two"] {
        let name = &project.name;
        shell(
            &project,
            &format!("printf 'FROM scratch\nLABEL version={version}\n' | docker build -q -t {name}:{version} -"),
        );
    }
    shell(&project, &format!("docker tag {0}:one {0}:base", project.name));
    assert_eq!(agree(&project, "nothing yet").1, ["build:after", "build:before", "task:move"]);
    expect_nothing(&project, "the first apply");

    project.write("which", "two");
    let ran = with_outcome(&project.apply(), "done").join(" ");
    assert!(ran.starts_with("build:after") && ran.ends_with("task:move"), "{ran}");
    agree(&project, "the move");
    expect_nothing(&project, "the move, seen by both");
    for tag in ["one", "two", "base"] {
        host_docker(&["image", "rm", &format!("{}:{tag}", project.name)]);
    }
}

/// A cleaned up engine lacks base images that nothing runs from, and their registry may be out of reach: that is no change.
#[test]
fn a_base_image_that_nobody_has_any_more_is_no_change() {
    let project = Project::on_the_bed("cleaned");
    project.write("stack.toml", "[stack]\nname = \"@name@\"\n[image.app]\ncontext = \"src\"\nload = \"none\"\n");
    project.write("src/Dockerfile", "FROM localhost:1/@name@:base\nLABEL a=b\n");
    let base = format!("localhost:1/{}:base", project.name);
    let make = format!("printf 'FROM scratch\nLABEL for={0}\n' | docker build -q -t {0} -", project.name);
    shell(&project, &format!("{make} && docker tag {} {base}", project.name));
    agree(&project, "nothing yet");
    host_docker(&["image", "rm", &base]);
    expect_nothing(&project, "the base removed");
    // Here somebody who never saw it would have to build.
    fs::rename(project.path().join(".stack/state.json"), project.path().join("kept")).unwrap();
    let plan = project.plan();
    assert_eq!(plan["build:app"], ("run".to_owned(), format!("base {base} is not there")));
    fs::rename(project.path().join("kept"), project.path().join(".stack/state.json")).unwrap();
    shell(&project, &format!("docker tag busybox:stable {base}"));
    assert_eq!(project.plan()["build:app"].1, format!("base {base} moved"));
    host_docker(&["image", "rm", &base]);
    host_docker(&["image", "rm", &project.name]);
}

/// What an image is built from is the image that the stack has just built, whatever bears its name in the engine.
#[test]
fn what_starts_from_an_image_of_the_stack_starts_from_exactly_that() {
    let project = Project::on_the_bed("based");
    let image = |name: &str| format!("[image.{name}]\ncontext = \"{name}\"\nload = \"none\"\n");
    let file = ["base", "child", "copy", "behind"].map(image).concat();
    project.write("stack.toml", &format!("[stack]\nname = \"@name@\"\n{file}target = \"front\"\n"));
    project.write("base/Dockerfile", "FROM scratch\nCOPY file /file\n");
    project.write("child/Dockerfile", "FROM @name@-base\nLABEL a=b\n");
    project.write("copy/Dockerfile", "FROM scratch\nCOPY --from=@name@-base:latest /file /copied\n");
    let behind =
        "FROM @name@-base AS back\nFROM scratch AS front\nCOPY --from=back /file /copied\nFROM scratch AS last\n";
    project.write("behind/Dockerfile", behind);
    let layers = |image: &str| {
        let tags = host_docker(&["image", "ls", "--no-trunc", "--quiet", &format!("{}-{image}", project.name)]).stdout;
        let newest = String::from_utf8(tags).unwrap().lines().next().unwrap().to_owned();
        String::from_utf8(host_docker(&["inspect", "--format", "{{json .RootFS.Layers}}", &newest]).stdout).unwrap()
    };
    project.write("base/file", "stale");
    assert_eq!(agree(&project, "nothing yet").1.len(), 4);
    expect_nothing(&project, "the first apply");
    assert_eq!(layers("child"), layers("base"));
    // Somebody's own name for it, which stays behind.
    let (latest, stale) = (format!("{}-base:latest", project.name), layers("base"));
    shell(&project, &format!("docker tag $(docker image ls -q {0}-base | head -1) {latest}", project.name));
    project.write("base/file", "fresh");
    let all = ["build:base", "build:behind", "build:child", "build:copy"];
    assert_eq!(agree(&project, "an edit of the base").1, all);
    assert_ne!(layers("base"), stale);
    assert_eq!(layers("child"), layers("base"));
    expect_nothing(&project, "all of it");
}

/// The most common of all projects: one folder, copied as a whole.
#[test]
fn a_context_and_a_chart_beside_the_stack_file_settle() {
    let bed = Bed::get();
    let project = Project::on_the_bed("beside");
    let file = "[stack]\nname = \"@name@\"\n[cluster]\n@cluster@\n\
         [image.app]\ncontext = \".\"\nload = \"none\"\n[chart.app]\npath = \".\"\nnamespace = \"@name@\"\n\
         set = { image = \"${image.app.id}\" }\n";
    project.write("stack.toml", &file.replace("@cluster@\n", &bed.cluster()));
    project.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    project.write("Chart.yaml", "apiVersion: v2\nname: app\nversion: 0.1.0\n");
    project.write(
        "templates/map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: map\ndata:\n  image: {{ .Values.image }}\n",
    );
    assert_eq!(agree(&project, "nothing yet").1, ["build:app", "chart:app"]);
    expect_nothing(&project, "the first apply");
    project.write("file", "new");
    agree(&project, "an edit");
    expect_nothing(&project, "the edit");
}

/// A Dockerfile may stand beside the context and the stack file: the folders above them are no part of the key.
#[test]
fn what_stands_outside_of_the_stacks_folder_is_the_same_in_every_checkout() {
    let mut project = Project::on_the_bed("outside");
    project.set_env("STACK_FILE", "one/deploy/stack.toml");
    project.write(
        "one/deploy/stack.toml",
        "[stack]\nname = \"@name@\"\nallow-outside = true\n[image.app]\ncontext = \"../app\"\n\
         dockerfile = \"../docker/app.Dockerfile\"\nload = \"none\"\n",
    );
    project.write("one/app/file", "a\n");
    project.write("one/docker/app.Dockerfile", "FROM scratch\nCOPY file /\n");
    project.write("one/docker/app.Dockerfile.dockerignore", "*.md\n");
    let apply = |checkout: &str| {
        let file = format!("{checkout}/deploy/stack.toml");
        project.stack(&["-f", &file, "apply", "--format", "json"]).expect_code(0).outcomes()
    };
    assert_eq!(apply("one")["build:app"], "done");
    shell(&project, "cp -R one two");
    assert_eq!(apply("two")["build:app"], "skipped");
    project.write("two/docker/app.Dockerfile.dockerignore", "*.txt\n");
    assert_eq!(apply("two")["build:app"], "done");
    assert_eq!(apply("one")["build:app"], "skipped");
}

#[test]
fn a_file_that_changes_while_it_is_built_is_not_recorded_as_built() {
    let bed = Bed::get();
    let project = small::project(&bed, "midway");
    project.append("base/Dockerfile", "RUN echo begun; i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done\n");
    let running = Running::until(&project, "begun");
    project.write("base/app/a", "changed\n");
    let (code, rest) = running.end();
    assert_eq!(code, Some(0), "{rest}");
    assert!(rest.contains("app/a changed while the image was being built"), "{rest}");
    assert_right(&bed, &project, "a change during the build");
    expect_nothing(&project, "a change during the build");
    project.write("base/app/a", "a\n");
    assert_eq!(project.plan()["build:base"].0, "run", "the first build was of nobody knows what");
}

/// Editors and compilers leave files for moments only: what is gone by the time that somebody wants to read it was never there.
#[test]
fn a_file_that_goes_while_files_are_read_or_sent_fails_nothing() {
    let project = Project::on_the_bed("went");
    project.write("stack.toml", "[stack]\nname = \"@name@\"\n[image.app]\ncontext = \"src\"\nload = \"none\"\n");
    project.write("src/Dockerfile", "FROM scratch\nCOPY . /\n");
    // It comes before the others, and takes the time of many steps of this test.
    let large = project.path().canonicalize().unwrap().join("src/large");
    fs::File::create(&large).unwrap().set_len(200 << 20).unwrap();
    project.write("src/z.swp", "@name@");
    let mut running = Running::start(&project, &["plan"]);
    running.until_open(&large);
    fs::remove_file(project.path().join("src/z.swp")).unwrap();
    let (code, rest) = running.end();
    assert_eq!(code, Some(0), "{rest}");

    project.write("src/z.swp", "@name@");
    let mut running = Running::until_event(&project, |event| event["event"] == "step-started");
    running.until_open(&large);
    fs::remove_file(project.path().join("src/z.swp")).unwrap();
    let (code, rest) = running.end();
    assert_eq!(code, Some(0), "{rest}");
    assert!(rest.contains("z.swp changed while the image was being built; building again"), "{rest}");
    expect_nothing(&project, "a file that went");
}

/// What each file of `.stack/` is turned into.
fn damages(good: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let noise = (0..good.len()).map(|index| (index * 131 % 251) as u8).collect();
    let middle: Vec<u8> =
        good.iter().enumerate().map(|(i, b)| if i == good.len() / 2 { b ^ 0x55 } else { *b }).collect();
    // A number after the name of the format, or in JSON.
    let text = String::from_utf8_lossy(good);
    let newer = if text.starts_with('{') {
        text.replacen("\"version\":", "\"version\":9", 1).into_bytes()
    } else {
        good.iter().enumerate().map(|(i, b)| if i == 8 { 99 } else { *b }).collect()
    };
    vec![
        ("empty", Vec::new()),
        ("truncated", good[..good.len() / 2].to_vec()),
        ("noise", noise),
        ("damaged in the middle", middle),
        ("of a newer version", newer),
    ]
}

#[test]
fn every_damage_to_the_local_folder_is_a_warning_and_the_right_result() {
    let bed = Bed::get();
    let project = small::project(&bed, "damage");
    project.apply();
    // Digests are only kept of files that have been at rest for a moment: by now they have.
    expect_nothing(&project, "the first apply");
    let folder = project.path().join(".stack");
    let names = || {
        let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.collect::<std::collections::BTreeSet<_>>()
    };
    let all = names();
    assert!(["state.json", "digests", "tasks"].iter().all(|name| all.contains(*name)), "{all:?}");
    for name in &all {
        let good = fs::read(folder.join(name)).unwrap();
        // These two say nothing that anybody relies on.
        let is_relied_on = !matches!(name.as_str(), "lock" | ".gitignore");
        for (damage, bytes) in damages(&good).into_iter().filter(|(damage, _)| is_relied_on || *damage == "noise") {
            fs::write(folder.join(name), bytes).unwrap();
            let run = project.stack(&["apply", "--format", "json"]).expect_code(0);
            let after = format!("{name} {damage}");
            let is_told = run.stderr.contains("warning") && run.stderr.contains(name.as_str());
            assert_eq!(is_told, is_relied_on, "{after}: {}", run.stderr);
            let outcomes = run.outcomes();
            let ran = with_outcome(&outcomes, "done");
            assert!(ran.is_empty() || (name == "tasks" && ran == ["task:list"]), "{after}: {ran:?}");
            let again = project.stack(&["apply", "--format", "json"]).expect_code(0);
            assert_eq!(again.stderr, "", "after {after}");
            let outcomes = again.outcomes();
            assert_eq!(with_outcome(&outcomes, "skipped").len(), STEPS.len(), "after {after}");
            assert_eq!(names(), all, "after {after}");
        }
    }
    project.write("base/app/a", "seen\n");
    assert_eq!(agree(&project, "all damage").1, ALL_OF_BASE);
    assert_right(&bed, &project, "all damage");
}
