//! The examples do what they say.
//!
//! Needs the test bed.

use crate::support::{Bed, Project, with_outcome};

/// The example with what it refers to, as in the checkout.
fn tasks(bed: &Bed) -> Project {
    let mut project = Project::on_the_bed("tasks");
    for part in ["app/database", "dockerfiles", "charts/todo-database", "examples/tasks"] {
        project.copy(part, part);
    }
    for key in ["name", "namespace"] {
        project.edit(
            "examples/tasks/stack.toml",
            &format!("\n{key} = \"tasks\""),
            &format!("\n{key} = \"{}\"", project.name),
        );
    }
    project.use_cluster("examples/tasks/stack.toml", bed);
    project.set_env("STACK_FILE", "examples/tasks/stack.toml");
    project
}

#[test]
fn tasks_make_sources_migrate_a_database_and_ask_at_the_end() {
    let bed = Bed::get();
    let project = tasks(&bed);
    let outcomes = project.apply();
    assert_eq!(with_outcome(&outcomes, "failed"), Vec::<&str>::new());
    let tables = || {
        let sql = "SELECT count(*) FROM migrations";
        let psql = ["psql", "--username", "todo", "--dbname", "todo", "-At", "-c", sql];
        let exec = ["--namespace", project.name.as_str(), "exec", "statefulset/db", "--"];
        bed.kubectl(&[exec.as_slice(), &psql].concat()).trim().to_owned()
    };
    assert_eq!(tables(), "2");

    let outcomes = project.apply();
    assert_eq!(with_outcome(&outcomes, "done"), ["task:smoke"], "{outcomes:?}");

    project.write("examples/tasks/migrations/003-due.sql", "ALTER TABLE notes ADD COLUMN due date;\n");
    let outcomes = project.apply();
    assert_eq!(with_outcome(&outcomes, "done"), ["task:migrate", "task:smoke"], "{outcomes:?}");
    assert_eq!(tables(), "3");

    // A route more is another source, another image, another release.
    project.append("examples/tasks/routes.txt", "/hello {\"hello\":\"world\"}\n");
    let outcomes = project.apply();
    let done = ["build:api", "chart:api", "load:api", "task:routes", "task:smoke"];
    assert_eq!(with_outcome(&outcomes, "done"), done, "{outcomes:?}");
    let path = format!("/api/v1/namespaces/{}/services/api:http/proxy/hello", project.name);
    assert_eq!(bed.kubectl(&["get", "--raw", &path]), "{\"hello\":\"world\"}");
}
