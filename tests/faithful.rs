//! The doubles do what the servers that they stand for do.

mod artifactory;
mod asking;
mod faults;
mod harbor_login;
mod harbor_projects;
mod harbor_robots;
mod harbor_system;
mod harbor_v2;
mod registry;
