//! What an upgrade would change, shown before it does: the chart rendered as Helm would, against the cluster.

use serde::Serialize;
use serde_json::Value as Json;

use super::{Work, install, objects};
use crate::config::Chart as Spec;
use crate::error::Class;
use crate::model::release::Release;
use crate::process::Cancel;
use crate::step::{StepError, World, of_helm, of_kube};
use crate::tools::helm;
use crate::tools::kube::drift::{Change, Drift, Warning};
use crate::tools::kube::{self, ChangeKind, ObjectChange, manifest};
use crate::tools::redact::Redactor;

/// What an upgrade would change.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChartChanges {
    /// The release.
    pub release: String,
    /// Its namespace.
    pub namespace: String,
    /// The objects that would be made, changed or removed.
    pub objects: Vec<ObjectChange>,
    /// Why nothing can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

pub(in crate::step) async fn differences(world: &World, work: &Work, whole: bool) -> Option<ChartChanges> {
    if work.only_wait || (!whole && work.release.is_none()) {
        return None;
    }
    let spec = world.stack().charts.get(work.name.as_str())?;
    let (release, namespace) = (spec.release.clone(), spec.namespace.clone());
    Some(match look(world, work).await {
        Ok(mut objects) => {
            if !whole {
                objects.retain(|object| object.change == ChangeKind::Remove);
            }
            let redactor = redactor(world, spec, work.release.as_ref());
            objects.iter_mut().for_each(|object| redact(object, &redactor));
            ChartChanges { release, namespace, objects, unknown: None }
        }
        Err(error) => {
            let why = error.diagnosis.map(|text| format!("; {text}")).unwrap_or_default();
            let unknown = Some(world.redactor().text(&format!("{}{why}", error.reason)));
            ChartChanges { release, namespace, objects: Vec::new(), unknown }
        }
    })
}

async fn look(world: &World, work: &Work) -> Result<Vec<ObjectChange>, StepError> {
    let spec = super::spec(world, &work.name)?;
    if install::lacks_dependencies(spec) {
        let reason = "the chart's dependencies are not there yet; an apply fetches them";
        return Err(StepError::new(Class::Environment, reason));
    }
    let cluster = world.cluster().await?;
    let _place = world.render_place().await;
    let cancel = Cancel::never();
    let session = super::session(world, cluster, &spec.namespace, world.redactor(), &cancel).await?;
    let wanted = install::wanted(world, spec, work.values.as_ref())?;
    let rendered = match session.preview(&wanted).await {
        Ok(rendered) => rendered,
        // A kind that the chart itself brings is not known to the cluster yet.
        Err(helm::HelmError::Failed { message, .. }) if message.contains("no matches for kind") => {
            session.template(&wanted, work.release.is_some()).await.map_err(of_helm)?
        }
        Err(error) => return Err(of_helm(error)),
    };
    let wanted =
        manifest::objects(&rendered, &spec.namespace).map_err(|error| StepError::of(&error, error.class(), None))?;
    let before = work.release.as_ref().map(objects).transpose()?.unwrap_or_default();
    kube::diff(cluster, &wanted, &before, &spec.namespace).await.map_err(of_kube)
}

/// What hides secrets in what is told of a release: also the values that what is secret now had before. Nothing else knows
/// those any more, and a difference would show them.
pub(super) fn redactor(world: &World, spec: &Spec, release: Option<&Release>) -> Redactor {
    let Some(release) = release else { return world.redactor().clone() };
    let mut found = Vec::new();
    for (key, value) in spec.set.iter().chain(&spec.set_string) {
        if value.resolve(world).is_ok_and(|resolved| resolved.is_secret())
            && let Some(former) = helm::values::get(&release.values, key)
        {
            texts(former, &mut found);
        }
    }
    if found.is_empty() {
        return world.redactor().clone();
    }
    world.redactor().clone().with(found.iter().map(String::as_str))
}

fn texts(value: &Json, found: &mut Vec<String>) {
    match value {
        Json::String(text) => found.push(text.clone()),
        Json::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Json::Object(map) => map.values().for_each(|item| texts(item, found)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// What came of an upgrade otherwise than it was applied, in words.
pub(super) fn warned(warning: &Warning, redactor: &Redactor) -> String {
    let hidden = Warning { drift: hidden(&warning.drift, redactor), ..warning.clone() };
    redactor.text(&hidden.to_string())
}

/// What was edited, in words. Values are cut to fit into a sentence, after which no secret would be known any more.
pub(super) fn told(drift: &Drift, redactor: &Redactor) -> String {
    hidden(drift, redactor).to_string()
}

fn hidden(drift: &Drift, redactor: &Redactor) -> Drift {
    let mut drift = drift.clone();
    if let Change::Edited(fields) = &mut drift.change {
        let mut found = Vec::new();
        for field in fields.iter() {
            if let Some(live) = &field.live {
                in_place_of_secrets(&field.wanted, live, redactor, &mut found);
            }
        }
        let redactor = &hiding(redactor, &found);
        let values = fields.iter_mut().flat_map(|field| field.live.iter_mut().chain([&mut field.wanted]));
        values.for_each(|value| redact_value(value, redactor));
    }
    drift
}

fn redact(object: &mut ObjectChange, redactor: &Redactor) {
    let mut found = Vec::new();
    for field in &object.fields {
        if let (Some(from), Some(to)) = (&field.from, &field.to) {
            in_place_of_secrets(to, from, redactor, &mut found);
        }
    }
    let redactor = &hiding(redactor, &found);
    object.before = redactor.text(&object.before);
    object.after = redactor.text(&object.after);
    for field in &mut object.fields {
        for value in [&mut field.from, &mut field.to].into_iter().flatten() {
            redact_value(value, redactor);
        }
    }
}

fn hiding(redactor: &Redactor, found: &[String]) -> Redactor {
    redactor.clone().with(found.iter().map(String::as_str))
}

/// Collects what somebody has put where the chart has a secret: nobody knows it, and it is most likely a secret as well.
fn in_place_of_secrets(wanted: &Json, live: &Json, redactor: &Redactor, found: &mut Vec<String>) {
    match (wanted, live) {
        (Json::Object(wanted), Json::Object(live)) => {
            let pairs = live.iter().filter_map(|(key, live)| Some((wanted.get(key)?, live)));
            pairs.for_each(|(wanted, live)| in_place_of_secrets(wanted, live, redactor, found));
        }
        (Json::Array(wanted), Json::Array(live)) if wanted.len() == live.len() => {
            let pairs = wanted.iter().zip(live);
            pairs.for_each(|(wanted, live)| in_place_of_secrets(wanted, live, redactor, found));
        }
        // Of a text of several lines only those count that are others.
        (Json::String(wanted), Json::String(live)) => {
            let others = |of: &str, from: &str| {
                let known = from.lines().collect::<Vec<_>>();
                of.lines().filter(|line| !known.contains(line)).map(str::to_owned).collect::<Vec<_>>()
            };
            let secret = |lines: &[String]| lines.iter().filter(|line| redactor.finds(line)).count();
            let (wanted, live) = (others(wanted, live), others(live, wanted));
            // Where the secret is one that the chart had before, everything else may be told.
            if secret(&wanted) > secret(&live) {
                found.extend(live);
            }
        }
        (wanted, live) => {
            let mut known = Vec::new();
            texts(wanted, &mut known);
            if known.iter().any(|text| redactor.finds(text)) {
                let mut there = Vec::new();
                texts(live, &mut there);
                found.extend(there.into_iter().filter(|text| !known.contains(text)));
            }
        }
    }
}

fn redact_value(value: &mut Json, redactor: &Redactor) {
    match value {
        Json::String(text) => *text = redactor.text(text),
        Json::Array(items) => items.iter_mut().for_each(|item| redact_value(item, redactor)),
        Json::Object(map) => map.values_mut().for_each(|item| redact_value(item, redactor)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tools::kube::ObjectRef;
    use crate::tools::kube::drift::Difference;

    #[test]
    fn what_somebody_put_in_the_place_of_a_secret_is_not_told() {
        let redactor = Redactor::new(["hunter2"]);
        let told = |wanted: Json, live: Json| {
            let [api_version, kind, namespace, name] = ["v1", "ConfigMap", "a", "a"].map(str::to_owned);
            let field = Difference { path: "data.a".to_owned(), wanted, live: Some(live) };
            let object = ObjectRef { api_version, kind, namespace, name };
            let told = told(&Drift { object, change: Change::Edited(vec![field]) }, &redactor);
            told.split_once("data.a ").map(|(_, told)| told.to_owned()).unwrap_or_default()
        };
        assert_eq!(told(json!("hunter2"), json!("their-own")), "*** -> ***");
        assert_eq!(told(json!("mode=a\npw=hunter2\n"), json!("mode=a\npw=their-own\n")), "line 2 pw=*** -> ***");
        assert_eq!(told(json!("mode=a\npw=hunter2\n"), json!("mode=b\npw=hunter2\n")), "line 1 mode=a -> mode=b");
        let (wanted, live) = (json!(["--pw=hunter2", "-x"]), json!(["--pw=their-own", "-x", "-yes"]));
        assert_eq!(told(wanted, live), r#"["--pw=***","-x"] -> ["***","-x","***"]"#);
        let (wanted, live) = (json!("pw=hunter2\nmode=a\n"), json!("pw=hunter2!\nmode=b\n"));
        assert_eq!(told(wanted, live), "line 1 pw=*** -> pw=***!");
        assert_eq!(told(json!("plain"), json!("other")), "plain -> other");
    }
}
