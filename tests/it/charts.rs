//! Charts of every kind and from everywhere: what is installed is what Helm itself would render, under both majors.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use stack::tools::kube::manifest;

use crate::chart_support::{file, helm, project, reason, release, use_helm};
use crate::support::{Bed, Project, succeed};

/// Answers requests for fixed paths on this machine, as long as the test runs.
struct Server(SocketAddr);

type Pages = BTreeMap<String, (String, Vec<u8>)>;

impl Server {
    fn start(pages: impl FnOnce(SocketAddr) -> Pages) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let pages = Arc::new(pages(address));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let pages = Arc::clone(&pages);
                std::thread::spawn(move || {
                    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                    let first = lines.next().unwrap_or_default();
                    lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
                    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
                    let (status, kind, body) = match pages.get(&path) {
                        Some((kind, body)) => ("200 OK", kind.as_str(), body.as_slice()),
                        None => ("404 Not Found", "text/plain", &b"no such page"[..]),
                    };
                    let digest = sha256(body);
                    let head = format!(
                        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: {digest}\r\nConnection: close\r\n\r\n",
                        body.len()
                    );
                    let body = if first.starts_with("HEAD") { &[] } else { body };
                    let _ = (&stream).write_all(head.as_bytes()).and_then(|()| (&stream).write_all(body));
                });
            }
        });
        Self(address)
    }
}

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("sha256:{hex}")
}

/// A chart of one config map, as an archive.
fn packed(folder: &Path, name: &str, version: &str) -> Vec<u8> {
    let chart = folder.join(name);
    std::fs::create_dir_all(chart.join("templates")).unwrap();
    std::fs::write(chart.join("Chart.yaml"), format!("apiVersion: v2\nname: {name}\nversion: {version}\n")).unwrap();
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-{{ .Chart.Name }}'}\ndata: {version: '{{ .Chart.Version }}', from: '{{ .Values.from }}'}\n";
    std::fs::write(chart.join("templates/map.yaml"), map).unwrap();
    std::fs::write(chart.join("values.yaml"), "from: default\n").unwrap();
    succeed(Command::new(helm(3)).current_dir(folder).args(["package", name]));
    std::fs::read(folder.join(format!("{name}-{version}.tgz"))).unwrap()
}

/// A repository, a registry and a values file.
fn published() -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (part, whole) = (packed(folder.path(), "part", "1.2.3"), packed(folder.path(), "whole", "0.3.0"));
    let server = Server::start(|address| {
        let entry = |name: &str, version: &str, archive: &[u8]| {
            json!([{"apiVersion": "v2", "name": name, "version": version, "digest": sha256(archive).split(':').nth(1),
                "urls": [format!("http://{address}/{name}-{version}.tgz")]}])
        };
        let entries = json!({"part": entry("part", "1.2.3", &part), "whole": entry("whole", "0.3.0", &whole)});
        let index = json!({"apiVersion": "v1", "entries": entries}).to_string().into_bytes();
        let config = br#"{"name":"whole","version":"0.3.0","apiVersion":"v2"}"#.to_vec();
        let layer = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": sha256(bytes), "size": bytes.len()});
        let oci = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": layer("application/vnd.cncf.helm.config.v1+json", &config),
            "layers": [layer("application/vnd.cncf.helm.chart.content.v1.tar+gzip", &whole)]});
        let oci = oci.to_string().into_bytes();
        let binary = "application/octet-stream".to_owned();
        let manifest = ("application/vnd.oci.image.manifest.v1+json".to_owned(), oci.clone());
        BTreeMap::from([
            ("/index.yaml".to_owned(), ("text/yaml".to_owned(), index)),
            ("/part-1.2.3.tgz".to_owned(), (binary.clone(), part)),
            ("/whole-0.3.0.tgz".to_owned(), (binary.clone(), whole.clone())),
            ("/values.yaml".to_owned(), ("text/yaml".to_owned(), b"from: an address\n".to_vec())),
            ("/v2/".to_owned(), ("application/json".to_owned(), b"{}".to_vec())),
            ("/v2/charts/whole/manifests/0.3.0".to_owned(), manifest.clone()),
            (format!("/v2/charts/whole/manifests/{}", sha256(&oci)), manifest),
            (format!("/v2/charts/whole/blobs/{}", sha256(&config)), (binary.clone(), config)),
            (format!("/v2/charts/whole/blobs/{}", sha256(&whole)), (binary, whole)),
        ])
    });
    (server, folder)
}

fn data(bed: &Bed, project: &Project, map: &str, key: &str) -> String {
    bed.kubectl(&["-n", &project.name, "get", "configmap", map, "-o", &format!("jsonpath={{.data.{key}}}")])
}

#[test]
fn charts_come_from_repositories_registries_and_what_a_lock_names() {
    let bed = Bed::get();
    let (server, _folder) = published();
    let address = server.0;
    for major in [3, 4] {
        let mut project = Project::on_the_bed("from");
        use_helm(&mut project, major);
        // Nothing of the user's own Helm is needed, and nothing is left in it.
        for variable in ["HELM_CONFIG_HOME", "HELM_CACHE_HOME", "HELM_DATA_HOME"] {
            project.set_env(variable, project.path().join(variable).display().to_string());
        }
        let charts = format!(
            "[chart.repo]\nchart = \"part\"\nversion = \"1.2.3\"\nrepo = \"http://{address}\"\nvalues = [\"http://{address}/values.yaml\"]\n\
             [chart.registry]\nchart = \"oci://{address}/charts/whole\"\nversion = \"0.3.0\"\nset = {{ from = \"the file\" }}\n\
             [chart.own]\npath = \"own\"\n"
        );
        project.write("stack.toml", &file(&bed, &charts));
        let own = format!(
            "apiVersion: v2\nname: own\nversion: 0.1.0\ndependencies:\n- {{name: part, version: 1.x, repository: \"http://{address}\"}}\n- {{name: beside, version: 0.1.0, repository: \"file://../beside\"}}\n"
        );
        project.write("own/Chart.yaml", &own);
        project.write("beside/Chart.yaml", "apiVersion: v2\nname: beside\nversion: 0.1.0\n");
        let map =
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-beside'}\ndata: {word: one}\n";
        project.write("beside/templates/map.yaml", map);
        project.apply();
        assert_eq!(data(&bed, &project, "repo-part", "from"), "an address");
        assert_eq!(data(&bed, &project, "registry-whole", "from"), "the file");
        assert_eq!(data(&bed, &project, "own-part", "version"), "1.2.3");
        assert_eq!(project.plan()["chart:own"].0, "skip", "Helm {major}: what was fetched is no change");
        // What the lock names is gone, and what lies beside has changed.
        std::fs::remove_dir_all(project.path().join("own/charts")).unwrap();
        project.edit("beside/templates/map.yaml", "one", "two");
        assert!(project.plan()["chart:own"].1.contains("beside/templates/map.yaml"));
        project.apply();
        assert_eq!(data(&bed, &project, "own-beside", "word"), "two");
        assert_eq!(project.plan()["chart:own"].0, "skip");
        assert_eq!(project.plan()["chart:registry"].0, "skip");
        let unknown = project.stack(&["apply", "--force=chart:registry", "chart:registry"]).expect_code(0);
        assert!(unknown.stdout.contains("registry revision 2 is ready"), "{}", unknown.stdout);
    }
}

/// The objects of a manifest, in an order that says nothing.
fn objects(text: &str, namespace: &str) -> Vec<Value> {
    let mut found =
        manifest::objects(text, namespace).unwrap().iter().map(|object| object.json().clone()).collect::<Vec<_>>();
    found.sort_by_key(|object| object.to_string());
    found
}

/// Removes the definition of the kind that the complex chart brings.
struct Definition<'a>(&'a Bed, String);

impl Drop for Definition<'_> {
    fn drop(&mut self) {
        self.0.kubectl(&["delete", "crd", &self.1, "--ignore-not-found", "--wait=false"]);
    }
}

const WIDGETS: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: widgets.@name@.dev}\nspec:\n  group: @name@.dev\n  scope: Namespaced\n  names: {plural: widgets, singular: widget, kind: Widget}\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]\n";

fn complex(project: &Project) {
    let dependencies = "- {name: kit, version: 0.1.0, repository: \"file://../kit\"}\n- {name: cache, version: 0.1.0, repository: \"file://../cache\", alias: store, condition: store.enabled}\n- {name: cache, version: 0.1.0, repository: \"file://../cache\", alias: unused, condition: unused.enabled}\n";
    project.write(
        "big/Chart.yaml",
        &format!("apiVersion: v2\nname: big\nversion: 0.1.0\nappVersion: \"7\"\ndependencies:\n{dependencies}"),
    );
    project.write("big/values.yaml", "word: chart\nlist: [a, b]\nfrom: chart\ndeep: {one: chart, two: chart}\nstore: {enabled: true, size: 1}\nunused: {enabled: false}\nglobal: {team: none}\ntemplate: '{{ .Values.word }}-{{ .Release.Name }}'\n");
    project.write("big/crds/widget.yaml", WIDGETS);
    project.write("big/files/page.html", "<p>{{ .Values.word }}</p>\n");
    project.write("big/templates/all.yaml", COMPLEX);
    project.write("big/templates/NOTES.txt", "{{ .Values.word }} is up in {{ .Release.Namespace }}.\n");
    project.write("big/templates/tests/check.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: check, annotations: {helm.sh/hook: test}}\nspec: {containers: [{name: c, image: none}]}\n");
    project.write("kit/Chart.yaml", "apiVersion: v2\nname: kit\nversion: 0.1.0\ntype: library\n");
    project.write("kit/templates/_kit.tpl", "{{- define \"kit.labels\" }}\napp: {{ .Release.Name }}\nteam: {{ .Values.global.team | quote }}\n{{- end }}\n{{- define \"kit.map\" }}\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-kit\n  labels: {{- include \"kit.labels\" . | nindent 4 }}\n{{- end }}\n");
    project.write("cache/Chart.yaml", "apiVersion: v2\nname: cache\nversion: 0.1.0\n");
    project.write("cache/values.yaml", "size: 0\nenabled: false\n");
    project.write("cache/templates/map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-{{ .Chart.Name }}'}\ndata: {size: {{ .Values.size | quote }}, team: {{ .Values.global.team | quote }}}\n");
}

const COMPLEX: &str = r#"
{{- include "kit.map" . }}
---
apiVersion: @name@.dev/v1
kind: Widget
metadata: {name: {{ .Release.Name }}}
spec: {words: {{ .Values.list | toJson }}}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
  labels: {{- include "kit.labels" . | nindent 4 }}
data:
  tpl: {{ tpl .Values.template . | quote }}
  page.html: {{ tpl (.Files.Get "files/page.html") . | quote }}
  deep: {{ .Values.deep | toJson | quote }}
  word: {{ .Values.word | quote }}
  kind: {{ kindOf .Values.number }}
  text: {{ .Values.text | default "" | quote }}
  app: {{ .Chart.AppVersion | quote }}
  first: {{ .Release.IsInstall | quote }}
  crd: {{ .Capabilities.APIVersions.Has "v1" | quote }}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-before
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-weight: "-1", helm.sh/hook-delete-policy: "before-hook-creation,hook-succeeded"}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{name: hook, image: "busybox:stable", imagePullPolicy: Never, command: [busybox, "true"]}]
"#;

#[test]
fn a_chart_of_complexity_is_installed_as_helm_itself_renders_it() {
    let bed = Bed::get();
    let mut manifests = Vec::new();
    for major in [3, 4] {
        // What is declared first goes last: Helm can't delete objects of a kind that has gone before them.
        let _definition;
        let mut project = Project::on_the_bed("big");
        use_helm(&mut project, major);
        _definition = Definition(&bed, format!("widgets.{}.dev", project.name));
        complex(&project);
        project.write("one.yaml", "word: first file\ndeep: {one: first file}\nglobal: {team: one}\nlist: [c]\n");
        project.write("two.yaml", "word: second file\ndeep: {two: second file}\n");
        project.write("text.txt", "line one\nline two\n");
        project.write(
            "stack.toml",
            &file(
                &bed,
                "[chart.big]\npath = \"big\"\nvalues = [\"one.yaml\", \"two.yaml\"]\nset-file = { text = \"text.txt\" }\n\
                 set-string = { number = 12 }\nnamespace-labels = { tier = \"test\" }\n\
                 [chart.big.set]\n\"deep.one\" = \"set\"\nstore = { size = 3 }\n",
            ),
        );
        let run = project.stack(&["apply", "--format", "json"]).expect_code(0);
        let notes = run
            .events()
            .iter()
            .filter(|event| event["event"] == "step-notes")
            .map(|event| event["notes"].clone())
            .collect::<Vec<_>>();
        assert_eq!(notes, [json!(format!("second file is up in {}.", project.name))]);
        assert_eq!(run.stdout.matches("is up in").count(), 1, "notes are told once:\n{}", run.stdout);
        let label = bed.kubectl(&["get", "namespace", &project.name, "-o", "jsonpath={.metadata.labels.tier}"]);
        assert_eq!(label, "test");

        let mut get = Command::new(helm(major));
        get.args(["get", "manifest", "big", "--kube-context", &bed.profile, "--namespace", &project.name]);
        let installed = String::from_utf8(succeed(&mut get).stdout).unwrap();
        let mut template = Command::new(helm(major));
        template.current_dir(project.path()).args([
            "template",
            "big",
            "big",
            "--no-hooks",
            "--namespace",
            &project.name,
        ]);
        template.args(["-f", "one.yaml", "-f", "two.yaml", "--set-file", "text=text.txt", "--set-string", "number=12"]);
        template.args(["--set", "deep.one=set,store.size=3", "--skip-tests"]);
        let rendered = String::from_utf8(succeed(&mut template).stdout).unwrap();
        assert_eq!(objects(&installed, &project.name), objects(&rendered, &project.name), "Helm {major}");
        assert!(installed.contains("big-store") && !installed.contains("big-unused"), "{installed}");
        manifests.push(objects(&installed.replace(&project.name, "NAME"), "NAME"));

        // The same again is nothing; what changes but does not change the notes brings no notes.
        assert_eq!(project.plan()["chart:big"].0, "skip");
        project.edit("two.yaml", "two: second file", "two: changed");
        project.edit("big/crds/widget.yaml", "kind: Widget}", "kind: Widget, shortNames: [w]}");
        let again = project.stack(&["apply"]).expect_code(0);
        assert!(!again.stdout.contains("is up in"), "{}", again.stdout);
        assert!(again.stdout.contains("Helm never upgrades those"), "{}", again.stdout);
    }
    assert_eq!(manifests[0], manifests[1], "both majors install the same");
}

/// An edit of values each time: it is planned, it says why, and the release has what Helm makes of it.
#[test]
fn of_values_the_type_the_order_and_the_place_count() {
    let bed = Bed::get();
    let project = Project::on_the_bed("values");
    project.write("own/Chart.yaml", "apiVersion: v2\nname: own\nversion: 0.1.0\n");
    project.write(
        "own/templates/map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: all}\ndata: {all: {{ .Values | toJson | quote }}}\n",
    );
    project.write("a.yaml", "word: a\n");
    project.write("b.yaml", "word: b\n");
    project.write("one.txt", "one");
    project.write("two.txt", "two");
    let chart = |more: &str| project.write("stack.toml", &file(&bed, &format!("[chart.own]\npath = \"own\"\n{more}")));
    let values = |values: &str, set: &str, set_string: &str, set_file: &str| {
        format!(
            "values = {values}\n[chart.own.set]\n{set}\n[chart.own.set-string]\n{set_string}\n[chart.own.set-file]\n{set_file}\n"
        )
    };
    let (files, swapped) = ("[\"a.yaml\", \"b.yaml\"]", "[\"b.yaml\", \"a.yaml\"]");
    let (texts, crossed) = ("x = \"one.txt\"\ny = \"two.txt\"", "x = \"two.txt\"\ny = \"one.txt\"");
    let edits = [
        (values(files, "flag = true", "", texts), json!({"flag": true, "word": "b", "x": "one", "y": "two"})),
        (values(files, "flag = \"true\"", "", texts), json!({"flag": "true", "word": "b", "x": "one", "y": "two"})),
        (values(files, "flag = 1", "", texts), json!({"flag": 1, "word": "b", "x": "one", "y": "two"})),
        (values(files, "", "flag = 1", texts), json!({"flag": "1", "word": "b", "x": "one", "y": "two"})),
        (values(swapped, "", "flag = 1", texts), json!({"flag": "1", "word": "a", "x": "one", "y": "two"})),
        (values(swapped, "", "flag = 1", crossed), json!({"flag": "1", "word": "a", "x": "two", "y": "one"})),
        (values("[]", "\"m.x\" = 1\nm = { y = 2 }", "", ""), json!({"m": {"y": 2}})),
        (values("[]", "m = { y = 2 }\n\"m.x\" = 1", "", ""), json!({"m": {"x": 1, "y": 2}})),
    ];
    for (more, expected) in edits {
        chart(&more);
        assert_eq!(project.plan()["chart:own"].0, "run", "{more}");
        project.apply();
        let live: Value = serde_json::from_str(&data(&bed, &project, "all", "all")).unwrap();
        assert_eq!(live, expected, "{more}");
        assert_eq!(project.plan()["chart:own"].0, "skip", "{more}");
    }
    // The same value, said in another way.
    chart(&values("[]", "m = { y = 2 }\n\"m.x\" = 1\nflag = \"1\"", "", ""));
    project.apply();
    chart(&values("[]", "m = { y = 2 }\n\"m.x\" = 1", "flag = 1", ""));
    assert_eq!(project.plan()["chart:own"].0, "skip");
}

/// An item of a list, a large number, and a folder whose name Helm would take for two: as with `--set`, under both majors.
#[test]
fn parts_of_lists_and_large_numbers_are_set_as_helm_sets_them() {
    let bed = Bed::get();
    for major in [3, 4] {
        let mut project = Project::on_the_bed("parts");
        use_helm(&mut project, major);
        project.write("own/Chart.yaml", "apiVersion: v2\nname: own\nversion: 0.1.0\n");
        project.write(
            "own/templates/map.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: all}\ndata: {all: {{ .Values.ports | toJson | quote }}, size: {{ .Values.size | quote }}}\n",
        );
        project.write("own/values.yaml", "ports: []\n");
        project.write("one, \"two\"/a.yaml", "ports: [{name: x, port: 7}]\n");
        project.write("b.yaml", "ports: [{name: http, port: 80}, {name: https, port: 443}]\n");
        let chart = "[chart.own]\npath = \"own\"\nvalues = ['one, \"two\"/a.yaml', 'b.yaml']\n\
            [chart.own.set]\n\"ports[0].port\" = 8080\nsize = 10485760\n";
        project.write("stack.toml", &file(&bed, chart));
        project.apply();
        let live: Value = serde_json::from_str(&data(&bed, &project, "all", "all")).unwrap();
        let expected = json!([{"name": "http", "port": 8080}, {"name": "https", "port": 443}]);
        assert_eq!((live, data(&bed, &project, "all", "size").as_str()), (expected, "10485760"), "Helm {major}");
        assert_eq!(project.plan()["chart:own"].0, "skip");
    }
}

#[test]
fn why_helm_cannot_delete_a_release_is_said() {
    let bed = Bed::get();
    for major in [3, 4] {
        // What is declared first goes last.
        let _definition;
        let mut project = project(&bed, "undeletable");
        use_helm(&mut project, major);
        let definition = format!("widgets.{}.dev", project.name);
        _definition = Definition(&bed, definition.clone());
        project.write("web/crds/widget.yaml", WIDGETS);
        project.write("web/templates/widget.yaml", "apiVersion: @name@.dev/v1\nkind: Widget\nmetadata: {name: lost}\n");
        project.apply();
        bed.kubectl(&["delete", "crd", &definition]);
        let plan = project.stack(&["plan"]);
        let said = plan.stdout + &plan.stderr;
        assert!(said.contains("`kubectl apply -f web/crds`"), "Helm {major}: {said}");
        // Helm may remember for hours which kinds there are.
        project.set_env("KUBECACHEDIR", project.path().join(".cache").display().to_string());
        let refused = project.stack(&["destroy", "--yes"]);
        assert_ne!(refused.code, 0, "Helm {major}: {}", refused.stdout);
        let said = refused.stdout + &refused.stderr;
        assert!(said.contains("no matches for kind \"Widget\""), "Helm {major}: {said}");
        assert!(said.contains("install its CustomResourceDefinition first"), "Helm {major}: {said}");
        // What was told to be done helps.
        bed.kubectl(&["apply", "-f", project.path().join("web/crds/widget.yaml").to_str().unwrap()]);
        bed.kubectl(&["wait", "--for=condition=Established", &format!("crd/{definition}")]);
        project.stack(&["destroy", "--yes"]).expect_code(0);
    }
}

#[test]
fn a_post_renderer_has_the_last_word_under_both_majors() {
    use std::os::unix::fs::PermissionsExt;
    let bed = Bed::get();
    for major in [3, 4] {
        let mut project = project(&bed, "post");
        use_helm(&mut project, major);
        project.write("bin/render", "#!/bin/sh\nsed \"s/^data: {a: b}/data: {a: '$1'}/\"\n");
        std::fs::set_permissions(project.path().join("bin/render"), std::fs::Permissions::from_mode(0o755)).unwrap();
        project.write("words.txt", "some\n");
        project.append(
            "stack.toml",
            "post-render = [\"bin/render\", \"$HOME, as it is\", \"words.txt\"]\nset = { replicas = 0, maps = [\"one\"] }\n",
        );
        project.apply();
        assert_eq!(data(&bed, &project, "web-one", "a"), "$HOME, as it is", "Helm {major}");
        assert_eq!(project.plan()["chart:web"].0, "skip");
        let why = project.stack(&["why", "chart:web"]).expect_code(0);
        assert!(why.stdout.contains("what the post-renderer reads beside"), "{}", why.stdout);
        project.write("words.txt", "others\n");
        assert!(project.plan()["chart:web"].1.contains("words.txt"), "its arguments are inputs");
        project.write("words.txt", "some\n");
        project.edit("bin/render", "data: {a: '$1'}", "data: {a: other}");
        assert!(project.plan()["chart:web"].1.contains("bin/render"), "the program is an input");
        let diff = project.stack(&["diff"]).expect_code(0);
        assert!(diff.stdout.contains("+   a: other"), "{}", diff.stdout);
        // One that fails is the chart's failure.
        project.write("bin/render", "#!/bin/sh\necho no such overlay >&2\nexit 1\n");
        let run = project.stack(&["apply", "--format", "json"]).expect_code(1);
        assert!(reason(&run, "chart:web").contains("no such overlay"), "{}", run.stdout);
        assert_eq!(release(&bed, &project, "web"), Some((1, "deployed".into())));
    }
}
