//! Whatever a file says, the reading of it ends with a model or with errors that can be drawn.

use proptest::prelude::*;

use super::*;
use crate::graph::{Graph, ImageFacts};

/// Pieces of stack files, to be put together in every wrong way.
const PIECES: [&str; 58] = [
    "[stack]",
    "[vars]",
    "[cluster]",
    "[image.a]",
    "[image.b]",
    "[chart.a]",
    "[chart.a.set]",
    "[ready.a]",
    "[task.a]",
    "[[image.a.secrets]]",
    "[limits]",
    "[limits.pools]",
    "[cache]",
    "[profile.p]",
    "[profile.p.image.a]",
    "[image]",
    "[x]",
    "name",
    "requires",
    "driver",
    "context",
    "profile",
    "dockerfile",
    "args",
    "needs",
    "load",
    "path",
    "set",
    "run",
    "inputs",
    "http",
    "condition",
    "timeout",
    "memory",
    "repository",
    "env",
    "secret",
    "default",
    "\"a.b\"",
    "pool",
    " = ",
    " = ",
    " = ",
    " = ",
    "\n",
    "\n",
    "\n",
    "\n",
    "\"${image.a.tag}\"",
    "\"${var.x} ${chart.a.revision}\"",
    "\"$${ ${\"",
    "'''\né${'''",
    "{ a = 1 }",
    "[\"chart.a\", 1]",
    "9999999999999999999",
    "true",
    "\"../../é\"",
    "1979-05-27",
];

fn read_and_draw(text: &str) {
    for profiles in [vec![], vec!["p".to_owned()]] {
        let options = LoadOptions { profiles, ..LoadOptions::new(&no_env) };
        match load_with(text, &options).map(|stack| Graph::build(&stack, &ImageFacts::default())) {
            Ok(Ok(_)) => {}
            Ok(Err(errors)) | Err(errors) => {
                assert!(!errors.errors().is_empty());
                assert!(!render(&errors).is_empty());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_pieces_of_stack_files(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)) {
        read_and_draw(&pieces.concat());
    }

    #[test]
    fn of_any_text(text in "\\PC{0,80}") {
        read_and_draw(&text);
    }

    #[test]
    fn of_a_right_file_with_a_hole(start in 0..EXAMPLE.len(), length in 0..40_usize, with in "[\\[\\]\"{}=\\n$a.é]{0,3}") {
        let mut text = EXAMPLE.to_owned();
        text.replace_range(start..(start + length).min(EXAMPLE.len()), &with);
        read_and_draw(&text);
    }

    #[test]
    fn of_right_keys_with_any_value(line in 0..60_usize, value in prop::sample::select(&PIECES[48..])) {
        let lines: Vec<String> = EXAMPLE
            .lines()
            .enumerate()
            .map(|(at, text)| match text.split_once(" = ") {
                Some((key, _)) if at == line => format!("{key} = {value}"),
                _ => text.to_owned(),
            })
            .collect();
        read_and_draw(&lines.join("\n"));
    }
}
