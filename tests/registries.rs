//! Work with registries, against doubles of them that are as nasty as the real ones.

mod artifactory;
mod platform;
