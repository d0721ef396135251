//! Every key of the stack file: its type, its default and its meaning.

use super::shape::{Key, OneOf, Shape, TableShape, opt, req};

const TEXT: Shape = Shape::Text;
const TEMPLATE: Shape = Shape::Template;
const BOOL: Shape = Shape::Bool;
const DURATION: Shape = Shape::Duration;
const PATH: Shape = Shape::Path;
const TEXTS: Shape = Shape::List(&Shape::Text);
const STEPS: Shape = Shape::List(&Shape::Step);
const ARGV: Shape = Shape::List(&Shape::Template);
const ENVIRONMENT: Shape = Shape::Map(&Shape::Scalar);
const COUNT: Shape = Shape::Integer(0, 1_000_000);
const POSITIVE: Shape = Shape::Integer(1, 1_000_000);
const PORT: Shape = Shape::Integer(1, 65_535);
const RUN: Shape = Shape::Either(&[Shape::Template, ARGV]);

const NEEDS: Key = opt(
    "needs",
    STEPS,
    "[]",
    "Steps that have to be done first, beyond those that references already name: `chart.todo`, `task:migrate`.",
);
const RETRIES: Key =
    opt("retries", Shape::Integer(0, 100), "0", "How often to try again after a failure that may pass by itself.");
const BACKOFF: Key =
    opt("backoff", DURATION, "1s", "The pause before the first retry; it doubles with each further one.");

/// The key holds profiles, each of which is like a whole file.
pub(super) fn holds_profiles(key: &Key) -> bool {
    matches!(key.shape, Shape::Named(Shape::Table(table)) if std::ptr::eq(*table, &ROOT))
}

/// The whole file.
pub(super) static ROOT: TableShape = TableShape {
    title: "the stack file",
    doc: "What to build, load, install and check, in one file.",
    one_of: &[],
    keys: &[
        req("stack", Shape::Table(&STACK), "The stack as a whole: a file begins with `[stack]` and its `name`."),
        opt("vars", Shape::Map(&VAR), "", "Variables, used as `${var.NAME}`."),
        opt("cluster", Shape::Table(&CLUSTER), "", "The Kubernetes cluster that everything goes to."),
        opt("image", Shape::Named(&Shape::Table(&IMAGE)), "", "Images to build and to load into the cluster's nodes."),
        opt("chart", Shape::Named(&Shape::Table(&CHART)), "", "Helm charts to install."),
        opt("ready", Shape::Named(&Shape::Table(&READY)), "", "Checks beside those that every chart brings along."),
        opt("task", Shape::Named(&Shape::Table(&TASK)), "", "Commands to run."),
        opt("limits", Shape::Table(&LIMITS), "", "How much may run at the same time, and for how long."),
        opt("cache", Shape::Table(&CACHE), "", "A registry that shares built images between machines."),
        opt(
            "profile",
            Shape::Named(&Shape::Table(&ROOT)),
            "",
            "`-p NAME`: the tables in it are merged over the ones of the file.",
        ),
    ],
};

pub(super) static STACK: TableShape = TableShape {
    title: "[stack]",
    doc: "The stack as a whole.",
    one_of: &[],
    keys: &[
        req("name", Shape::Name, "The name of the stack: part of every record and label."),
        opt(
            "requires",
            Shape::Requirement,
            "",
            "The versions of `stack` that understand this file, such as \">=0.1\".",
        ),
        opt("allow-outside", BOOL, "false", "Paths may leave the folder of the stack file."),
        opt("prune", BOOL, "true", "Remove releases that this stack installed and that left the file."),
    ],
};

pub(super) static VAR: Shape = Shape::Either(&[Shape::Constant, Shape::Table(&VAR_TABLE)]);

pub(super) static VAR_TABLE: TableShape = TableShape {
    title: "a variable",
    doc: "A variable that comes from the environment, or that is secret.",
    one_of: &[],
    keys: &[
        opt("env", TEXT, "", "The variable of the environment that it is read from."),
        opt("default", Shape::Constant, "", "Its value when nothing else gives it one."),
        opt("secret", BOOL, "false", "Never show the value, nor store it."),
    ],
};

pub(super) static CLUSTER: TableShape = TableShape {
    title: "[cluster]",
    doc: "The Kubernetes cluster that everything goes to.",
    one_of: &[],
    keys: &[
        req(
            "driver",
            Shape::Choice(&[
                ("minikube", "a minikube profile"),
                ("kind", "a kind cluster"),
                ("k3d", "a k3d cluster"),
                ("context", "an existing cluster, by its kubeconfig context"),
            ]),
            "What runs the cluster.",
        ),
        opt("profile", TEXT, "the stack's name", "The minikube profile, or the name of the kind or k3d cluster."),
        opt("context", TEXT, "", "The kubeconfig context, for `driver = \"context\"`."),
        opt("kubeconfig", PATH, "$KUBECONFIG or ~/.kube/config", "The kubeconfig file to read."),
        opt(
            "allow-contexts",
            TEXTS,
            "[]",
            "Contexts that may be changed although they look remote; `*` stands for anything.",
        ),
        opt("start", BOOL, "true", "Create or start the cluster when it is not running."),
        opt("node-driver", TEXT, "", "What the nodes run in: what minikube calls `--driver`; only for minikube."),
        opt("nodes", Shape::Integer(1, 1000), "1", "How many nodes a new cluster has."),
        opt("container-runtime", TEXT, "", "The container runtime of a new cluster's nodes; only for minikube."),
        opt("cpus", Shape::Integer(1, 1024), "", "CPUs of a new cluster's node; only for minikube."),
        opt("memory", Shape::Size, "", "Memory of a new cluster's node, such as \"4g\"; only for minikube."),
        opt("disk", Shape::Size, "", "Disk of a new cluster's node, such as \"20g\"; only for minikube."),
        opt("kubernetes-version", TEXT, "", "The Kubernetes version of a new cluster, such as \"v1.32.0\"."),
        opt("addons", TEXTS, "[]", "minikube addons to enable in a new cluster."),
        opt("start-args", TEXTS, "[]", "Further arguments for the command that creates the cluster."),
        opt("namespace", Shape::Name, "default", "The namespace of charts and checks that name none."),
        opt("registry", TEXT, "", "The registry that the nodes pull from, for `load = \"registry\"`."),
        opt("timeout", DURATION, "10m", "How long starting the cluster may take."),
        RETRIES,
        BACKOFF,
    ],
};

pub(super) static IMAGE: TableShape = TableShape {
    title: "[image.NAME]",
    doc: "An image: `build:NAME` builds it, `load:NAME` brings it to the nodes.",
    one_of: &[],
    keys: &[
        req("context", PATH, "The folder that the build sees."),
        opt("dockerfile", PATH, "Dockerfile in the context", "The Dockerfile."),
        opt("target", TEXT, "the last stage", "The stage of the Dockerfile to build."),
        opt("args", ENVIRONMENT, "{}", "Build arguments."),
        opt(
            "secrets",
            Shape::List(&Shape::Table(&SECRET)),
            "[]",
            "Files and values that `RUN --mount=type=secret` sees.",
        ),
        opt("labels", ENVIRONMENT, "{}", "Labels to put on the image."),
        opt("platform", TEXT, "that of the node", "The platform to build for, such as \"linux/amd64\"."),
        opt(
            "repository",
            TEXT,
            "the names of stack and image, with `-` between",
            "The name of the image, without a tag.",
        ),
        opt(
            "load",
            Shape::Choice(&[
                ("auto", "`layers` where it applies, else `archive`"),
                ("direct", "build in the node's own Docker daemon, so that nothing is moved"),
                ("layers", "send only the layers that the node lacks"),
                ("archive", "send the whole image"),
                ("registry", "push to a registry that the nodes pull from"),
                ("none", "do not bring it to the nodes"),
            ]),
            "auto",
            "How the image gets to the nodes.",
        ),
        NEEDS,
        opt("timeout", DURATION, "1h", "How long the build, and each load, may take."),
        RETRIES,
        BACKOFF,
    ],
};

pub(super) static SECRET: TableShape = TableShape {
    title: "a build secret",
    doc: "Something that a build may read and that does not end up in the image.",
    one_of: &[OneOf { keys: &["src", "env", "value"], required: true }],
    keys: &[
        req("id", TEXT, "The id that the Dockerfile mounts it by."),
        opt("src", PATH, "", "A file; it may be outside of the folder of the stack file."),
        opt("env", TEXT, "", "A variable of the environment."),
        opt("value", TEMPLATE, "", "The value itself, such as `${var.token}`."),
        opt("optional", BOOL, "false", "Build without it when it is not there."),
    ],
};

pub(super) static CHART: TableShape = TableShape {
    title: "[chart.NAME]",
    doc: "A release of a Helm chart, and the readiness of everything in it.",
    one_of: &[OneOf { keys: &["path", "chart"], required: true }],
    keys: &[
        opt("path", PATH, "", "The folder of a chart that is part of this project."),
        opt("chart", TEXT, "", "A published chart: `oci://…`, or `NAME` with `repo`, or `REPO/NAME`; needs `version`."),
        opt("version", TEXT, "", "The version of a published chart."),
        opt("repo", TEXT, "", "The address of the repository that a published chart is in."),
        opt("release", Shape::Name, "the chart's name here", "The name of the release."),
        opt("namespace", Shape::Name, "that of the cluster", "The namespace of the release."),
        opt("create-namespace", BOOL, "true", "Create the namespace when it is not there."),
        opt("namespace-labels", ENVIRONMENT, "{}", "Labels of a namespace that is created."),
        opt("values", Shape::List(&Shape::Text), "[]", "Values files, later ones win; `https://…` is fetched by Helm."),
        opt("set", Shape::Map(&Shape::Value), "{}", "Values by dotted path; they win over the files."),
        opt("set-string", ENVIRONMENT, "{}", "Values by dotted path that are text whatever they look like."),
        opt("set-file", Shape::Map(&PATH), "{}", "Values by dotted path that are the contents of a file."),
        opt(
            "on-failure",
            Shape::Choice(&[
                ("keep", "leave it as it is, to be looked at"),
                ("rollback", "go back to the last revision that was ready"),
            ]),
            "keep",
            "What to do when the release does not become ready.",
        ),
        opt("adopt", BOOL, "false", "Take over a release of this name that something else installed."),
        opt("prune", BOOL, "that of the stack", "Remove the release when it has left the file."),
        opt("post-render", ARGV, "", "A command that gets the rendered manifest on its input and prints it changed."),
        opt("wait", BOOL, "true", "Wait until everything in the release is ready."),
        opt("workloads", COUNT, "", "How many workloads the chart should have; fewer is a failure."),
        NEEDS,
        opt("timeout", DURATION, "5m", "How long installing it and becoming ready may take."),
        opt("grace", DURATION, "30s", "How long errors that may pass by themselves are watched before they count."),
        opt("max-restarts", COUNT, "3", "How many restarts of a container are tolerated."),
        RETRIES,
        BACKOFF,
    ],
};

pub(super) static READY: TableShape = TableShape {
    title: "[ready.NAME]",
    doc: "A check that waits until it passes.",
    one_of: &[OneOf { keys: &["workload", "job", "service", "http", "tcp", "condition", "run"], required: true }],
    keys: &[
        opt("workload", TEMPLATE, "", "A workload whose rollout is complete: `deployment/NAME`."),
        opt("job", TEMPLATE, "", "A Job that has completed."),
        opt("service", TEMPLATE, "", "A Service that has ready endpoints."),
        opt("http", Shape::Table(&HTTP), "", "An HTTP request that is answered as it should be."),
        opt("tcp", Shape::Table(&TCP), "", "A port that accepts connections."),
        opt("condition", Shape::Table(&CONDITION), "", "A condition, or a field, of any object."),
        opt("run", RUN, "", "A command that exits with 0: its arguments as a list, or a line for the shell."),
        opt("namespace", TEMPLATE, "that of the cluster", "The namespace of what is checked."),
        opt("env", ENVIRONMENT, "{}", "Variables of the environment of `run`."),
        NEEDS,
        opt("timeout", DURATION, "5m", "How long it may take until the check passes."),
        opt("interval", DURATION, "1s", "The pause between two tries of `http`, `tcp` and `run`."),
        opt("grace", DURATION, "30s", "How long errors that may pass by themselves are watched before they count."),
        opt("max-restarts", COUNT, "3", "How many restarts of a container are tolerated."),
        RETRIES,
        BACKOFF,
    ],
};

pub(super) static HTTP: TableShape = TableShape {
    title: "an HTTP check",
    doc: "An HTTP request to a Service of the cluster, or to any address.",
    one_of: &[OneOf { keys: &["service", "url"], required: true }],
    keys: &[
        opt("service", TEMPLATE, "", "The Service to ask; it is reached from the host, whatever its type."),
        opt("url", TEMPLATE, "", "The whole address to ask, for what is no Service."),
        opt("port", PORT, "80", "The port of the Service."),
        opt("path", TEMPLATE, "/", "The path."),
        opt("scheme", Shape::Choice(&[("http", "plain"), ("https", "TLS, not verified")]), "http", "The protocol."),
        opt("status", Shape::Integer(100, 599), "200", "The status that is expected."),
        opt("contains", TEMPLATE, "", "Text that the answer has to hold."),
        opt("headers", Shape::Map(&TEMPLATE), "{}", "Headers to send."),
    ],
};

pub(super) static TCP: TableShape = TableShape {
    title: "a TCP check",
    doc: "A connection to a port of a Service.",
    one_of: &[],
    keys: &[req("service", TEMPLATE, "The Service."), req("port", PORT, "The port of the Service.")],
};

pub(super) static CONDITION: TableShape = TableShape {
    title: "a condition",
    doc: "A condition, or a field, of any object of the cluster.",
    one_of: &[OneOf { keys: &["type", "path"], required: true }],
    keys: &[
        req("resource", TEMPLATE, "The object: `KIND/NAME`, or `KIND.GROUP/NAME`."),
        opt("type", TEXT, "", "The type of the condition in its status, such as \"Ready\"."),
        opt("path", TEXT, "", "The field, such as \".status.phase\"."),
        opt("value", Shape::Scalar, "\"True\"", "The value that is waited for."),
    ],
};

pub(super) static TASK: TableShape = TableShape {
    title: "[task.NAME]",
    doc: "A command: code generation, migrations, smoke tests.",
    one_of: &[],
    keys: &[
        req("run", RUN, "The command: its arguments as a list, or a line for the shell."),
        opt("cwd", PATH, "the folder of the stack file", "Where it runs."),
        opt("env", ENVIRONMENT, "{}", "Variables of its environment."),
        opt(
            "inputs",
            Shape::List(&Shape::Glob),
            "[]",
            "Files that it depends on: when none changed, it does not run again.",
        ),
        opt(
            "outputs",
            Shape::List(&Shape::Glob),
            "[]",
            "Files that it makes: when one is missing or changed, it runs again.",
        ),
        opt("cache", BOOL, "true", "`false`: run it in every apply."),
        opt("pool", Shape::Name, "", "The pool of `[limits.pools]` that it takes a place in."),
        NEEDS,
        opt("timeout", DURATION, "", "How long it may take."),
        RETRIES,
        BACKOFF,
    ],
};

pub(super) static LIMITS: TableShape = TableShape {
    title: "[limits]",
    doc: "How much may run at the same time, and for how long.",
    one_of: &[],
    keys: &[
        opt("jobs", POSITIVE, "the number of CPUs, at least 8", "How many steps may run at the same time."),
        opt("builds", POSITIVE, "no limit of its own", "How many images may be built at the same time."),
        opt("loads", POSITIVE, "no limit of its own", "How many images may be loaded at the same time."),
        opt("charts", POSITIVE, "no limit of its own", "How many charts may be installed at the same time."),
        opt(
            "tasks",
            POSITIVE,
            "no limit of its own",
            "How many tasks may run at the same time, those in pools of your own included.",
        ),
        opt("pools", Shape::Map(&POSITIVE), "{}", "Pools of your own, by name: tasks that name one share its places."),
        opt("deadline", DURATION, "", "How long a whole run may take."),
        opt("grace", DURATION, "10s", "How long a command that was told to end may take before it is killed."),
    ],
};

pub(super) static CACHE: TableShape = TableShape {
    title: "[cache]",
    doc: "A registry that shares built images between machines.",
    one_of: &[],
    keys: &[
        req("registry", TEXT, "Where the images are kept by their keys: `host:5000/todo`."),
        opt(
            "mode",
            Shape::Choice(&[("read-write", "use it and add to it"), ("read-only", "only use it")]),
            "read-write",
            "Whether this machine adds to it.",
        ),
        opt("timeout", DURATION, "1m", "How long one transfer may stall before the run goes on without it."),
    ],
};
