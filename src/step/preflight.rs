//! What has to be there before the first step starts, so that nothing is half done for want of a tool.

use std::collections::HashSet;

use futures::TryStreamExt;
use futures::future::FutureExt;
use futures::stream::FuturesOrdered;

use super::{StepError, World, cluster, guard};
use crate::config::Driver;
use crate::graph::StepKind;

/// Makes sure that Docker answers if something is built or loaded, that there is a `helm` if a chart is installed, that
/// the cluster may be changed, and that one which this stack may not start is running.
///
/// # Errors
/// The first of these, in this order, that is not so: they are looked at all at once, and what is said must not depend on
/// which is seen first.
pub async fn preflight(world: &World, kinds: &HashSet<StepKind>) -> Result<(), StepError> {
    let docker = async {
        if kinds.contains(&StepKind::Build) || kinds.contains(&StepKind::Load) {
            world.engine().await?;
        }
        Ok(())
    };
    let helm = async {
        if kinds.contains(&StepKind::Chart) {
            world.helm().await?;
        }
        Ok(())
    };
    let cluster = async {
        guard::may_change(world).await?;
        let foreign =
            world.stack().cluster.as_ref().is_some_and(|spec| !spec.start || spec.driver.value == Driver::Context);
        if foreign && kinds.contains(&StepKind::Cluster) {
            cluster::inspect(world).await?;
        }
        Ok(())
    };
    let all: FuturesOrdered<_> = [docker.boxed(), helm.boxed(), cluster.boxed()].into_iter().collect();
    all.try_collect().await
}
