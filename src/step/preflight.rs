//! What has to be there before the first step starts, so that nothing is half done for want of a tool.

use std::collections::HashSet;
use std::sync::Arc;

use super::{StepError, World, cluster, guard};
use crate::config::Driver;
use crate::graph::StepKind;

/// Makes sure that Docker answers if something is built or loaded, that there is a `helm` if a chart is installed, that
/// the cluster may be changed, and that one which this stack may not start is running.
///
/// # Errors
/// The first of these that is not so.
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
    tokio::try_join!(docker, helm, cluster).map(|_: ((), (), ())| ())
}

/// Begins to connect to all that the steps will ask, while the first of them are at work. Whoever needs a connection waits
/// for the one that is being made; one that fails is tried again, and told of, by whoever needs it.
pub fn connect_early(world: &Arc<World>, kinds: &HashSet<StepKind>) {
    let (builds, loads, cluster) =
        [StepKind::Build, StepKind::Load, StepKind::Cluster].map(|kind| kinds.contains(&kind)).into();
    let world = Arc::clone(world);
    tokio::spawn(async move {
        tokio::join!(
            async {
                if builds || loads {
                    world.engine().await.ok();
                }
            },
            async {
                if cluster {
                    world.cluster().await.ok();
                }
            },
            async {
                if loads {
                    world.nodes().await.ok();
                }
            },
        )
    });
}
