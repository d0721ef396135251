use super::*;
use crate::model::tree::About;

fn manifest(inputs: &[(Group, &str, &str)]) -> Manifest {
    let mut manifest = Manifest::new("build");
    for (group, name, value) in inputs {
        manifest.text(*group, *name, *value);
    }
    manifest
}

#[test]
fn order_does_not_count_and_boundaries_do() {
    let key = |inputs: &[_]| manifest(inputs).key().unwrap();
    let (a, b) = ((Group::Arg, "A", "1"), (Group::File, "a", "2"));
    assert_eq!(key(&[a, b]), key(&[b, a]));
    assert_ne!(key(&[(Group::Arg, "A", "12")]), key(&[(Group::Arg, "A1", "2")]));
    assert_ne!(key(&[(Group::Arg, "A", "1")]), key(&[(Group::Env, "A", "1")]));
    assert_ne!(key(&[]), key(&[a]));
}

#[test]
fn text_and_digest_of_the_same_letters_differ() {
    let mut text = Manifest::new("build");
    text.text(Group::Arg, "A", "x");
    let mut digest = Manifest::new("build");
    digest.digest(Group::Arg, "A", "x");
    assert_ne!(text.key(), digest.key());
    assert_ne!(Manifest::new("build").key(), Manifest::new("chart").key());
}

/// A tree's files have to make the same key as if each had been added by itself, wherever they stand and whatever
/// else has their names.
#[test]
fn a_tree_counts_as_its_files_do() {
    let about = |mode, digest: u8| About { mode, size: 1, modified_ns: 2, digest: Some([digest; 32]) };
    let entries = [
        ("a", FileKind::Folder, about(0o755, 0)),
        ("a/b", FileKind::File, about(0o644, 1)),
        ("a/run", FileKind::File, about(0o755, 2)),
        ("a/su", FileKind::File, about(0o4755, 2)),
        ("a-c", FileKind::File, about(0o644, 3)),
        ("link", FileKind::Symlink { target: "a/b" }, about(0o777, 0)),
        ("z", FileKind::File, about(0o644, 4)),
    ];
    let tree = Arc::new(FileTree::of("/", entries).unwrap());
    let others = [
        (Group::Arg, "z"),
        (Group::File, "a/b"),
        (Group::File, "a"),
        (Group::Setting, "s"),
        (Group::File, "zz"),
        (Group::Target, "t"),
        (Group::File, "a-c"),
    ];
    for position in 0..=others.len() {
        let (mut whole, mut single) = (Manifest::new("build"), Manifest::new("build"));
        for (at, (group, name)) in others.iter().enumerate() {
            if at == position {
                whole.tree(Arc::clone(&tree));
                tree.iter().for_each(|entry| single.push(Group::File, entry.path(), Value::of_entry(&entry)));
            }
            whole.text(*group, *name, "value");
            single.text(*group, *name, "value");
        }
        if position == others.len() {
            whole.tree(Arc::clone(&tree));
            tree.iter().for_each(|entry| single.push(Group::File, entry.path(), Value::of_entry(&entry)));
        }
        assert_eq!(whole.inputs().collect::<Vec<_>>(), single.inputs().collect::<Vec<_>>());
        assert_eq!(whole.key(), single.key(), "after {position} inputs");
        assert_eq!(whole.recorded(), single.recorded());
    }
}

#[test]
fn who_a_file_runs_as_counts_and_what_else_its_mode_says_does_not() {
    let value = |mode| {
        let about = About { mode, size: 1, modified_ns: 2, digest: Some([1; 32]) };
        let tree = FileTree::of("/", [("a", FileKind::File, about)]).unwrap();
        tree.iter().map(|entry| Value::of_entry(&entry)).next().unwrap()
    };
    assert_eq!(value(0o755), value(0o1700));
    assert_ne!(value(0o755), value(0o4755));
    assert_ne!(value(0o2755), value(0o4755));
    assert!(value(0o4755).text().starts_with("4000 executable b3:"), "{:?}", value(0o4755));
    assert_eq!(Value::content_of(&value(0o4755).text()), None);
}

/// Keys stand in the tags of images that were built long ago.
#[test]
fn the_recipe_is_what_it_was() {
    let mut manifest = manifest(&[(Group::Arg, "A", "1")]);
    let about = About { mode: 0o755, size: 1, modified_ns: 2, digest: Some([9; 32]) };
    let entries = [("app", FileKind::Folder, about), ("app/run", FileKind::File, about)];
    manifest.tree(Arc::new(FileTree::of("/", entries).unwrap()));
    assert_eq!(manifest.key().unwrap().short(), "5d4ded55b2c946df");
}

#[test]
fn digests_are_shown_short_and_targets_whole() {
    let shown = |digest: &str| Value::Digest(digest.to_owned()).shown();
    assert_eq!(shown("sha256:0123456789abcdef"), "sha256:0123456789ab");
    assert_eq!(shown("0123456789abcdef"), "0123456789ab");
    assert_eq!(shown("link ../../somewhere/else:1"), "link ../../somewhere/else:1");
}

#[test]
fn hexadecimal_digits_are_those_of_the_record() {
    for first in [0, 77, 128, 224] {
        let digest = std::array::from_fn(|at| first + at as u8);
        assert_eq!(hex(&digest), *blake3::Hash::from_bytes(digest).to_hex().as_bytes());
    }
}

#[test]
fn a_key_is_made_anew_when_something_is_added() {
    let mut manifest = manifest(&[(Group::Arg, "A", "1")]);
    let before = manifest.key();
    manifest.text(Group::Arg, "B", "2");
    let then = manifest.key();
    manifest.tree(Arc::new(FileTree::of("/", [("a", FileKind::Folder, About::default())]).unwrap()));
    assert!(before != then && then != manifest.key() && before != manifest.key());
}

#[test]
fn an_unknown_input_leaves_no_key() {
    let mut manifest = manifest(&[(Group::Arg, "A", "1")]);
    manifest.unknown(Group::Image, "backend", StepId::new(crate::graph::StepKind::Build, "backend"));
    assert_eq!(manifest.key(), None);
    assert_eq!(manifest.waits_for().unwrap().to_string(), "build:backend");
}

#[test]
fn a_secret_digest_depends_on_all_three_and_shows_nothing() {
    let digest = |stack, input, secret: &str| SecretDigest::of(stack, input, &SecretString::from(secret));
    let one = digest("todo", "arg.TOKEN", "hunter2");
    assert_eq!(one, digest("todo", "arg.TOKEN", "hunter2"));
    assert_ne!(one, digest("todo", "arg.TOKEN", "hunter3"));
    assert_ne!(one, digest("todo", "arg.OTHER", "hunter2"));
    assert_ne!(one, digest("other", "arg.TOKEN", "hunter2"));
    assert!(!one.0.contains("hunter2"));
}

#[test]
fn a_record_survives_being_written_and_read() {
    let mut manifest = manifest(&[(Group::Arg, "A", "1")]);
    manifest.digest(Group::File, "b c", "blake3:00ff");
    let recorded = manifest.recorded().unwrap();
    let text = serde_json::to_string(&recorded).unwrap();
    assert_eq!(serde_json::from_str::<RecordedManifest>(&text).unwrap(), recorded);
    assert_eq!(serde_json::to_string(&manifest.record().unwrap()).unwrap(), text);
    // Of two inputs with one name the last one counts, whichever way it is recorded.
    manifest.text(Group::File, "b c", "again");
    let text = serde_json::to_string(&manifest.record().unwrap()).unwrap();
    assert_eq!(serde_json::from_str::<RecordedManifest>(&text).ok(), manifest.recorded());
}
