//! What one machine built others only fetch; and a registry that fails costs a warning, never the run.
//!
//! Two engines with data of their own are two CI runners, and Debian's `docker-registry` is what they share. They live in a
//! network of their own, so that they meet nobody.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Bed, Project, succeed, with_outcome};

/// Registries on ports of 127.0.0.1: 5000 is sound, 5001 takes nothing, 5002 is full, 5003 accepts connections and says
/// nothing. On 5009 there is nobody.
const RUNNERS: &str = r#"set -e
ip link set lo up
registry() {
    printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}%s}\nhttp: {addr: 127.0.0.1:%s}\n' \
        "$2" "$3" "$1" > "$1.yml"
    docker-registry serve "$1.yml" > "$1.log" 2>&1 &
}
mkdir full
mount -t tmpfs -o size=64k tmpfs full
registry 5000 "$PWD/images" ''
registry 5001 "$PWD/images" ', maintenance: {readonly: {enabled: true}}'
registry 5002 "$PWD/full" ''
registry 5003 "$PWD/images" ''
until curl -s http://127.0.0.1:5003/v2/; do :; done
kill -STOP $!
for runner in a b; do
    mkdir $runner
    echo '{}' > $runner/daemon.json
    dockerd --config-file $PWD/$runner/daemon.json --data-root $PWD/$runner/data --exec-root $PWD/$runner/exec --pidfile $PWD/$runner/pid \
        --host unix://$PWD/$runner/sock --bridge none --iptables=false --ip6tables=false \
        --cgroup-parent /t-runner-$runner > $runner/log 2>&1 &
done
wait
"#;

/// The engines and registries.
struct Runners {
    all: Child,
    folder: tempfile::TempDir,
}

impl Runners {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("stack-runners-").tempdir().unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        // In a process namespace of their own they all go with the first of them, whatever happens to this test.
        let all = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", RUNNERS])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        let runners = Self { all, folder };
        let begun = Instant::now();
        while !["a", "b"].iter().all(|runner| runners.docker(runner, &["version"]).output().unwrap().status.success()) {
            assert!(begun.elapsed() < Duration::from_secs(60), "the engines did not come up");
        }
        runners
    }

    fn socket(&self, runner: &str) -> String {
        format!("unix://{}", self.folder.path().join(runner).join("sock").display())
    }

    fn docker(&self, runner: &str, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["--host", &self.socket(runner)]).args(args);
        command
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Runners {
    fn drop(&mut self) {
        // The end of `unshare` ends all that it holds.
        let _ = self.all.kill();
        let _ = self.all.wait();
        if std::thread::panicking() {
            for name in ["log", "5000.log", "a/log"] {
                let text = fs::read_to_string(self.log(name)).unwrap_or_default();
                eprintln!("{name}:\n{}", text.lines().rev().take(10).collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

/// A checkout on a runner.
fn checkout(runners: &Runners, runner: &str, content: &str) -> Project {
    let mut project = Project::empty("cache");
    project.set_env("DOCKER_HOST", runners.socket(runner));
    project.write(
        "stack.toml",
        "[stack]\nname = \"t-cache\"\n[image.app]\ncontext = \"app\"\nload = \"none\"\n\
         [image.top]\ncontext = \"top\"\nload = \"none\"\nargs = { BASE = \"${image.app.ref}\" }\n\
         [cache]\nregistry = \"127.0.0.1:5000/todo\"\ntimeout = \"3s\"\n",
    );
    project.write("app/Dockerfile", "FROM 127.0.0.1:5000/base:1\nCOPY . /app\n");
    project.write("app/content", content);
    project.write("top/Dockerfile", "ARG BASE\nFROM ${BASE}\nCOPY Dockerfile /top\n");
    project
}

/// Applies; for each build its note, and the warnings.
fn apply(project: &Project, args: &[&str]) -> (Vec<String>, Vec<String>) {
    let run = project.stack(&[&["apply", "--format", "json"], args].concat()).expect_code(0);
    assert_eq!(with_outcome(&run.outcomes(), "done").len(), 2, "{}", run.stdout);
    let events = run.events();
    let texts = |kind: &str, field: &str| {
        let of_kind = events.iter().filter(|event| event["event"] == kind);
        of_kind.map(|event| event[field].as_str().unwrap_or_default().to_owned()).collect()
    };
    (texts("step-finished", "note"), texts("warning", "message"))
}

/// A base image that only the registry has, and that takes more of the context than the Dockerfile on top of it tells.
fn what_a_base_takes_unseen(runners: &Runners) {
    let eager = "127.0.0.1:5000/eager:1";
    let build = format!(
        "printf 'FROM 127.0.0.1:5000/base:1\\nONBUILD COPY . /all\\n' | docker build -q -t {eager} - && docker push -q {eager} && docker rmi {eager}"
    );
    let mut shell = Command::new("sh");
    succeed(shell.args(["-ec", &build]).env("DOCKER_HOST", runners.socket("a")));
    let checkout = |runner: &str| {
        let mut project = Project::empty("eager");
        project.set_env("DOCKER_HOST", runners.socket(runner));
        project.write(
            "stack.toml",
            "[stack]\nname = \"t-eager\"\n[image.app]\ncontext = \"app\"\nload = \"none\"\n\
             [cache]\nregistry = \"127.0.0.1:5000/eager\"\n",
        );
        project.write("app/Dockerfile", &format!("FROM {eager}\nCOPY one /one\n"));
        project.write("app/one", "one");
        project.write("app/two", "two");
        project
    };
    let here = checkout("a");
    here.stack(&["apply"]).expect_code(0);
    assert_eq!(here.plan()["build:app"].0, "skip", "it is found again");
    here.write("app/two", "another");
    let (action, reason) = &here.plan()["build:app"];
    assert_eq!((action.as_str(), reason.as_str()), ("run", "~ two"));
    here.stack(&["apply"]).expect_code(0);
    assert_eq!(here.plan()["build:app"].0, "skip");

    let there = checkout("b");
    let run = there.stack(&["apply"]).expect_code(0);
    assert!(run.stdout.contains(", from 127.0.0.1:5000/eager"), "{}", run.stdout);
    assert_eq!(there.plan()["build:app"].0, "skip");
    let why = there.stack(&["why", "build:app"]).expect_code(0);
    assert!(why.stdout.contains("the build takes more than its Dockerfile tells"), "{}", why.stdout);
}

/// Somebody gives the name of a key in the registry to another image, which the stack has shared as well.
fn a_name_that_was_given_to_another_image(runners: &Runners) {
    let image = |project: &Project| {
        let run = project.stack(&["apply", "--format", "json", "app"]).expect_code(0);
        let mut notes = run.events().into_iter().filter_map(|event| event["note"].as_str().map(str::to_owned));
        let warned = run.events().iter().any(|event| event["event"] == "warning");
        (notes.next_back().unwrap(), warned)
    };
    let project = checkout(runners, "a", "left");
    let left = image(&project).0;
    project.write("app/content", "right");
    let right = image(&project).0;
    assert_ne!(left, right);
    let key = |of: &str| {
        let mut list = runners.docker("a", &["image", "ls", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
        let lines = String::from_utf8(succeed(&mut list).stdout).unwrap();
        let (id, mut lines) = (of.rsplit(':').next().unwrap(), lines.lines());
        let line = lines.find(|line| line.contains(":k-") && line.matches('-').count() == 3 && line.ends_with(id));
        line.unwrap_or_else(|| panic!("no key of {id}")).split([':', ' ']).nth(1).unwrap().to_owned()
    };
    let arch = String::from_utf8(succeed(&mut runners.docker("a", &["version", "-f", "{{.Server.Arch}}"])).stdout);
    let moved =
        format!("127.0.0.1:5000/todo/{}:{}-{}", left.split(':').next().unwrap(), key(&left), arch.unwrap().trim());
    succeed(&mut runners.docker("a", &["tag", &right, &moved]));
    succeed(&mut runners.docker("a", &["push", &moved]));
    succeed(&mut runners.docker("a", &["rmi", &moved]));
    let there = checkout(runners, "b", "left");
    let (built, warned) = image(&there);
    assert!(warned && built != right && !built.contains("from"), "it is built, and said why: {built}");
    let again = checkout(runners, "a", "left");
    succeed(&mut runners.docker("a", &["image", "prune", "--all", "--force"]));
    assert_eq!(image(&again), (format!("{built}, from 127.0.0.1:5000/todo"), false), "the one who built it shared it");
}

/// Docker's own program for logins asks somebody who is not there.
fn a_credential_helper_that_hangs(runners: &Runners) {
    let mut project = checkout(runners, "a", "needs a login");
    project.write("config/config.json", "{\"credHelpers\":{\"127.0.0.1:5000\":\"hangs\"}}");
    project.write("bin/docker-credential-hangs", "#!/bin/sh\nexec tail -f /dev/null\n");
    let helper = project.path().join("bin/docker-credential-hangs");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", helper.parent().unwrap().display(), std::env::var("PATH").unwrap());
    project.set_env("PATH", path);
    project.set_env("DOCKER_CONFIG", project.path().join("config").display().to_string());
    project.write("app/Dockerfile", "FROM scratch\nCOPY . /app\n");
    let (notes, warnings) = apply(&project, &[]);
    assert_eq!((notes.len(), warnings.len()), (2, 1), "{notes:?} {warnings:?}");
    assert!(warnings[0].contains("the credential helper did not answer for 3 s"), "{warnings:?}");
}

#[test]
fn a_fresh_runner_fetches_what_another_one_built() {
    Bed::get();
    let runners = Runners::start();
    // The base image is in the registry and on neither runner.
    let mut save = Command::new("docker").args(["save", "busybox:stable"]).stdout(Stdio::piped()).spawn().unwrap();
    let load = runners.docker("a", &["load"]).stdin(save.stdout.take().unwrap()).output().unwrap();
    assert!(load.status.success() && save.wait().unwrap().success());
    succeed(&mut runners.docker("a", &["tag", "busybox:stable", "127.0.0.1:5000/base:1"]));
    succeed(&mut runners.docker("a", &["push", "127.0.0.1:5000/base:1"]));
    succeed(&mut runners.docker("a", &["rmi", "busybox:stable", "127.0.0.1:5000/base:1"]));

    let from_cache = |notes: &[String]| notes.iter().filter(|note| note.contains(", from 127.0.0.1:5000/todo")).count();
    let (notes, warnings) = apply(&checkout(&runners, "a", "one"), &[]);
    assert_eq!((from_cache(&notes), warnings.len()), (0, 0), "the first one builds: {notes:?} {warnings:?}");
    let project = checkout(&runners, "b", "one");
    let (notes, warnings) = apply(&project, &[]);
    assert_eq!((from_cache(&notes), warnings.len()), (2, 0), "the second one fetches: {notes:?} {warnings:?}");
    let plan = project.plan();
    assert!(plan.values().all(|(action, _)| action == "skip"), "{plan:?}");
    let images = |runner: &str| {
        let mut list =
            runners.docker(runner, &["image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
        let mut lines: Vec<String> =
            String::from_utf8(succeed(&mut list).stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(images("a"), images("b"), "the same images with the same names, and no name of the cache's");

    // Only to read: nobody gets what this one built.
    let (notes, _) = apply(&checkout(&runners, "a", "two"), &["--cache-read-only"]);
    assert_eq!(from_cache(&notes), 0);
    let (notes, _) = apply(&checkout(&runners, "b", "two"), &[]);
    assert_eq!(from_cache(&notes), 0, "it was not shared");
    let (notes, _) = apply(&checkout(&runners, "a", "one"), &["--force"]);
    assert_eq!(from_cache(&notes), 0, "who forces a build wants it built");

    what_a_base_takes_unseen(&runners);
    a_name_that_was_given_to_another_image(&runners);
    a_credential_helper_that_hangs(&runners);

    for (port, what) in [(5001, "takes nothing"), (5002, "is full"), (5003, "says nothing"), (5009, "is gone")] {
        let project = checkout(&runners, "a", what);
        let begun = Instant::now();
        let (notes, warnings) = apply(&project, &["--cache", &format!("127.0.0.1:{port}/todo")]);
        assert_eq!(notes.len(), 2, "a registry that {what}: {notes:?}");
        assert_eq!(warnings.len(), 1, "a registry that {what}: {warnings:?}");
        assert!(warnings[0].contains("going on without the cache"), "{warnings:?}");
        assert!(begun.elapsed() < Duration::from_secs(30), "a registry that {what} took {:?}", begun.elapsed());
    }
}
