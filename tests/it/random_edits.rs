//! Plan says beforehand what apply then does, whatever was edited.
//!
//! Needs the test bed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use crate::small::{self, Dice, agree, assert_right, field, shell};
use crate::support::{Bed, Project, host_docker, succeed};

/// Does one thing that somebody might do, and says what.
fn one_edit(bed: &Bed, project: &Project, dice: &mut Dice) -> String {
    let file = dice.of(&["a", "b", "sub/c", "sub/d"]);
    let path = project.path().join("base/app").join(file);
    let is_there = path.symlink_metadata().is_ok();
    let number = dice.roll(4);
    let object = dice.of(&["one", "two"]);
    let image = dice.of(&["base", "top"]);
    let key_tags = |image: &str| {
        let reference = format!("reference={}-{image}:*", project.name);
        let listed = host_docker(&["image", "ls", "--filter", &reference, "--format", "{{.Repository}}:{{.Tag}}"]);
        String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    // What an edit before this one took away cannot be taken away once more.
    let is_installed = || bed.has(&["-n", &project.name, "configmap", object]);
    match dice.roll(18) {
        0..=2 => {
            // A link would be written through.
            let _ = fs::remove_file(&path);
            project.write(&format!("base/app/{file}"), &format!("{number}\n"));
            format!("{file} = {number}")
        }
        3 if is_there => {
            fs::remove_file(path).unwrap();
            format!("rm {file}")
        }
        4 if is_there => {
            fs::rename(path, project.path().join("base/app").join(format!("moved{number}"))).unwrap();
            format!("mv {file} moved{number}")
        }
        5 if is_there && !path.is_symlink() => {
            let mode = if fs::metadata(&path).unwrap().permissions().mode() & 0o100 == 0 { 0o755 } else { 0o644 };
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            format!("chmod {mode:o} {file}")
        }
        6 if is_there => {
            fs::remove_file(&path).unwrap();
            symlink(format!("/app/target{number}"), &path).unwrap();
            format!("ln -s target{number} {file}")
        }
        7 => {
            project.append("base/Dockerfile", &format!("# {number}\n"));
            "a remark in the Dockerfile".to_owned()
        }
        8 => {
            let text = fs::read_to_string(project.path().join("stack.toml")).unwrap();
            let before = text.split("colour = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
            project.edit("stack.toml", &format!("colour = \"{before}\""), &format!("colour = \"c{number}\""));
            format!("colour c{number}")
        }
        9 => {
            project.write("chart/files/text", &format!("text {number}\n"));
            project.write("chart/x.bak", &number.to_string());
            format!("chart file {number}")
        }
        10 => {
            project.write("names/a", &format!("{number}\n"));
            let _ = fs::remove_file(project.path().join("out/names"));
            "names".to_owned()
        }
        11 => {
            shell(project, "find . -not -path './.stack*' -exec touch {} +; echo more >> base/README.md");
            "touch".to_owned()
        }
        12 => {
            let _ = fs::remove_dir_all(project.path().join(".stack"));
            "rm -r .stack".to_owned()
        }
        13 if is_installed() => {
            bed.kubectl(&["-n", &project.name, "delete", "configmap", object]);
            format!("delete configmap {object}")
        }
        14 if is_installed() => {
            succeed(Command::new("helm").args([
                "--kube-context",
                &bed.profile,
                "-n",
                &project.name,
                "uninstall",
                object,
            ]));
            format!("uninstall {object}")
        }
        15 if is_installed() => {
            let there = field(bed, project, object, "image");
            bed.remove_from_nodes(&there);
            format!("remove {there} from the node")
        }
        16 if !key_tags(image).is_empty() => {
            let names = key_tags(image);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            host_docker(&[&["image", "rm", "--force"], names.as_slice()].concat());
            format!("remove all of {image} from the host")
        }
        _ => match key_tags(image).into_iter().find(|name| name.contains(":k-")) {
            Some(key) => {
                host_docker(&["tag", "busybox:stable", &key]);
                format!("retag {key}")
            }
            None => format!("nothing: {image} and {object} are gone already"),
        },
    }
}

/// As many rounds as `STACK_TEST_EDITS` says; with the seed `STACK_TEST_SEED`.
#[test]
fn plan_and_apply_agree_over_random_edits() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let rounds = number("STACK_TEST_EDITS").unwrap_or(6);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("STACK_TEST_SEED").unwrap_or(now.as_nanos() as u64);
    let mut dice = Dice::new(seed);
    let bed = Bed::get();
    let project = small::project(&bed, "dice");
    project.apply();
    for round in 0..rounds {
        let edits: Vec<String> = (0..=dice.roll(3)).map(|_| one_edit(&bed, &project, &mut dice)).collect();
        let after = format!("seed {seed}, round {round}: {}", edits.join("; "));
        println!("{after}");
        let (plan, ran) = agree(&project, &after);
        println!("  ran {ran:?} of {:?}", plan.iter().filter(|(_, (action, _))| action != "skip").collect::<Vec<_>>());
        assert_right(&bed, &project, &after);
        let again = project.plan();
        assert!(again.values().all(|(action, _)| action == "skip"), "{after}: not at rest: {again:?}");
    }
}
