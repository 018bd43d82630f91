//! Whether a Harbor takes the integrating account, and if not, whether its password is wrong.
//!
//! Harbor answers 401 as well when it cannot check a password: its database is away, or the account is locked for a moment
//! (`frozen`, 1.5 s) because somebody else failed to log in under that name. What tells them apart: a password that was
//! looked at and found wrong is answered after those 1.5 s, a locked account at once (src/core/auth, `Login`); and
//! `/health` says how the database is, up to some 10 s late, so the database is asked for something as well.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures::future::{Either, select};
use reqwest::StatusCode;
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use super::rights::Rights;
use super::{Harbor, Health};
use crate::registry::AccountRole;
use crate::registry::fault::{Doubt, Fault};
use crate::registry::http::Login;

/// How long Harbor keeps the answer to a wrong password back, a little less for clocks.
const LOOKED_AT: Duration = Duration::from_millis(1400);
/// How long an account is locked after that of somebody else's, and after our own, which is over with its answer.
const LOCKED: Duration = Duration::from_millis(1550);
const OWN_LOCK: Duration = Duration::from_millis(50);
/// How much longer it may be waited, so that two who were locked out do not meet again.
const JITTER: Duration = Duration::from_millis(400);
/// How long it is waited for what Harbor says of its health after a second refusal; it answers at once.
const HEALTH: Duration = Duration::from_secs(5);
/// How long an account that is refused without a look at its password is not taken for rejected: one that never was
/// accepted, which is more than Harbor's health may be late, and one that was.
const NEW: Duration = Duration::from_secs(20);
const KNOWN: Duration = Duration::from_mins(2);
/// Parts without which no login can be checked.
const NEEDED: [&str; 3] = ["database", "core", "redis"];

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    sysadmin_flag: bool,
    #[serde(default)]
    admin_role_in_auth: bool,
}

/// One login's outcome.
pub(super) enum Look {
    Accepted(AccountRole),
    Refused(Refusal),
}

/// A refused login.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    /// The password was looked at.
    looked_at: bool,
}

impl Refusal {
    /// One whose answer took so long.
    pub fn after(time: Duration) -> Self {
        Self { looked_at: time >= LOOKED_AT }
    }
}

impl Harbor {
    /// Logs in as the integrating account. `refused`: a login just now that was refused.
    ///
    /// # Errors
    /// [`Fault::CredentialsRejected`] where the password is wrong, [`Fault::CredentialsNotChecked`] where that cannot be
    /// told.
    pub(super) async fn log_in(&self, refused: Option<Refusal>) -> Result<AccountRole, Fault> {
        let first = match refused {
            Some(refusal) => {
                self.http.doubt();
                Look::Refused(refusal)
            }
            None => self.look().await?,
        };
        let looked_at = match first {
            Look::Accepted(tier) => return Ok(tier),
            Look::Refused(Refusal { looked_at }) => looked_at,
        };
        let mut health = pin!(self.can_check());
        if looked_at && !self.http.held_before() {
            health.await.map_err(Fault::CredentialsNotChecked)?;
            return Err(self.rejected());
        }
        let pause = if looked_at { OWN_LOCK } else { LOCKED } + jitter();
        let again = async {
            sleep(pause).await;
            self.look().await
        };
        let (again, health) = match select(&mut health, pin!(again)).await {
            Either::Left((health, again)) => {
                health.map_err(Fault::CredentialsNotChecked)?;
                (again.await?, Ok(()))
            }
            Either::Right((again, health)) => match again? {
                accepted @ Look::Accepted(_) => (accepted, Ok(())),
                refused => (refused, timeout(HEALTH, health).await.unwrap_or(Err(Doubt::Silent))),
            },
        };
        match again {
            Look::Accepted(tier) => Ok(tier),
            Look::Refused(Refusal { looked_at }) => {
                health.map_err(Fault::CredentialsNotChecked)?;
                let patience = if self.http.held_before() { KNOWN } else { NEW };
                if looked_at || self.http.doubt() > patience {
                    return Err(self.rejected());
                }
                Err(Fault::CredentialsNotChecked(Doubt::Locked))
            }
        }
    }

    /// The password is wrong, or that of a robot account which has another name by now.
    fn rejected(&self) -> Fault {
        let fault = self.http.reject();
        // No user's name holds that sign (src/server/v2.0/handler/user.go), and the usual prefix does.
        let by_name = self.http.username().is_some_and(|name| name.contains('$'));
        let is_robot = by_name || matches!(self.account().tier, Some(AccountRole::Robot(_)));
        if is_robot { Fault::RobotRejected } else { fault }
    }

    pub(super) async fn look(&self) -> Result<Look, Fault> {
        let asked = Instant::now();
        let answer = self.http.call(self.get("/users/current", &[]).login(Login::Own)).await?;
        let tier = match answer.status {
            StatusCode::UNAUTHORIZED => {
                self.http.doubt();
                return Ok(Look::Refused(Refusal::after(asked.elapsed())));
            }
            // The account of a robot, which is no user.
            StatusCode::PRECONDITION_FAILED => AccountRole::Robot(Rights::default()),
            status if status.is_success() => {
                let user: User = answer.json("users/current")?;
                if user.sysadmin_flag || user.admin_role_in_auth {
                    AccountRole::SystemAdmin
                } else {
                    AccountRole::User
                }
            }
            status => return Err(Fault::Rejected(status.as_u16())),
        };
        self.http.accepted();
        Ok(Look::Accepted(tier))
    }

    /// Whether Harbor can check passwords. How it says that it is may be 10 s old (src/controller/health,
    /// `PeriodicHealthChecker`), and what the database is asked for is not.
    pub(super) async fn can_check(&self) -> Result<(), Doubt> {
        let answer = self.http.call(self.get("/health", &[])).await;
        let answer = answer.ok().filter(|answer| answer.status.is_success()).ok_or(Doubt::Silent)?;
        let Health { components } = answer.json("health").map_err(|_| Doubt::Silent)?;
        let ill = |name: &&str| components.iter().any(|c| c.name == *name && c.status != "healthy");
        if let Some(name) = NEEDED.into_iter().find(ill) {
            return Err(Doubt::Ill(name));
        }
        // What everybody is shown. One attempt: the next pass asks again, and more would count as an outage.
        match self.http.once(&self.get("/projects", &[("public", "true"), ("page_size", "1")])).await {
            Ok(_) => Ok(()),
            Err(Fault::Failing(500, _)) => Err(Doubt::Ill("database")),
            Err(_) => Err(Doubt::Silent),
        }
    }
}

/// Up to [`JITTER`].
fn jitter() -> Duration {
    let mut random = [0_u8];
    // Without random numbers everybody waits as long.
    let _ = aws_lc_rs::rand::fill(&mut random);
    JITTER * u32::from(random[0]) / 255
}
