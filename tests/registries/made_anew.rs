//! Projects that are deleted and made again under their names, while accounts get their rights.

use pullgate::domain::record::Kind;
use reqwest::Method;

use super::platform::{INTERVAL, eventually};
use super::robots::{pair, platform, robot_of};
use crate::doubles::harbor::{Harbor, Options, can_pull};

#[tokio::test(flavor = "multi_thread")]
async fn a_project_made_anew_gets_no_right_by_its_name_when_another_binding_changes() {
    let harbor = Harbor::start(Options::default());
    let platform = platform(&harbor).await;
    harbor.add_project("three", false);
    eventually("it is recorded", async || platform.spaces().await.len() == 3).await;
    platform.bind("corp.one", &["a"]).await;
    platform.bind("corp.two", &["a"]).await;
    let a = robot_of(&platform, "a", None).await;
    eventually("both", async || can_pull(&harbor, pair(&a), "two").await).await;
    harbor.remake_project("two");
    platform.bind("corp.three", &["a"]).await;
    eventually("the other one", async || can_pull(&harbor, pair(&a), "three").await).await;
    assert!(!can_pull(&harbor, pair(&a), "two").await);
    eventually("its bindings rest", async || {
        platform.status(Kind::RegistrySpace, "corp.two").await["suspended"] == true
    })
    .await;
    assert!(!can_pull(&harbor, pair(&a), "two").await && can_pull(&harbor, pair(&a), "one").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_went_to_another_project_in_the_middle_of_a_write_is_taken_back() {
    for write in [Method::PUT, Method::POST] {
        let harbor = Harbor::start(Options::default());
        let platform = platform(&harbor).await;
        if write == Method::PUT {
            platform.bind("corp.one", &["a"]).await;
            robot_of(&platform, "a", None).await;
        }
        harbor.remake_project_before(&write, "two");
        platform.bind("corp.two", &["a"]).await;
        eventually("it happened", async || {
            platform.status(Kind::RegistrySpace, "corp.two").await["suspended"] == true
        })
        .await;
        let made = harbor.project("two").unwrap().id;
        eventually("nobody has a right to it", async || {
            harbor.robots().iter().all(|robot| robot.permissions.iter().all(|p| !p.covers(made)))
        })
        .await;
        tokio::time::sleep(INTERVAL).await;
        if write == Method::PUT {
            let a = robot_of(&platform, "a", None).await;
            assert!(can_pull(&harbor, pair(&a), "one").await && !can_pull(&harbor, pair(&a), "two").await);
        } else {
            assert_eq!((platform.robot("a", None).await, harbor.robots().len()), (None, 0));
        }
    }
}
