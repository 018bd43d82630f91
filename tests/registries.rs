//! Work with registries, against doubles of them that are as nasty as the real ones.

mod account_proofs;
mod artifactory;
mod bounded_status;
mod confirmed;
mod discovery;
mod drift;
mod hostile;
mod leftovers;
mod logins;
mod made_anew;
mod outcomes;
mod own_words;
mod partial_rights;
mod plan;
mod platform;
mod refusals;
mod rest;
mod robot_account;
mod robot_refusals;
mod robots;
mod served;
mod shared_connections;
mod suggestions;
mod time;
mod trust;
