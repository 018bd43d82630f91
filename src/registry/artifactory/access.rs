//! How docker comes to an Artifactory's repositories: by the path (`host/key/image`), by a subdomain (`key.host/image`) or
//! by a port (`host:port/image`).

use std::collections::BTreeMap;

use serde_json::Value;
use url::Url;

use super::Fault;
use crate::domain::record::{Host, Name, PathPrefix, bounds};
use crate::types::v1alpha1::DockerMethod;

/// Ports of repositories that are kept in mind.
const PORTS: usize = 1_000;

/// What is known of it. Where the account is not told, the image hosts of the record say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Of the registry's own address.
    domain: String,
    port: Option<u16>,
    method: Option<DockerMethod>,
    /// By repository, where it is the method.
    ports: BTreeMap<String, u16>,
}

/// What an image host stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stands<'a> {
    /// For all repositories; the first segment of the path says for which.
    All,
    For(&'a str),
    /// For one repository, and for which was not told.
    Unknown,
}

impl Access {
    /// That of a registry that told nothing yet.
    pub fn of(url: &Url) -> Self {
        let domain = url.host_str().unwrap_or_default().to_ascii_lowercase();
        Self { domain, port: url.port(), method: None, ports: BTreeMap::new() }
    }

    /// Takes in what the registry tells of its web server; `Null`: nothing.
    pub(super) fn learn(&mut self, web_server: &Value) {
        self.method = match web_server["dockerReverseProxyMethod"].as_str() {
            Some(told) if told.eq_ignore_ascii_case("REPOPATHPREFIX") => Some(DockerMethod::Path),
            Some(told) if told.eq_ignore_ascii_case("SUBDOMAIN") => Some(DockerMethod::Subdomain),
            Some(told) if told.eq_ignore_ascii_case("PORTPERREPO") => Some(DockerMethod::Port),
            _ => None,
        };
        self.ports.clear();
        self.learn_ports(&web_server["reverseProxyRepositories"]);
    }

    /// Versions nest these differently.
    fn learn_ports(&mut self, told: &Value) {
        if let (Some(key), Some(port)) = (told["repoRef"].as_str(), told["port"].as_u64()) {
            if key.len() <= bounds::PATH && self.ports.len() < PORTS {
                self.ports.extend(u16::try_from(port).ok().map(|port| (key.to_owned(), port)));
            }
            return;
        }
        match told {
            Value::Array(items) => items.iter().for_each(|item| self.learn_ports(item)),
            Value::Object(members) => members.values().for_each(|member| self.learn_ports(member)),
            _ => {}
        }
    }

    /// The method, where it was told.
    pub fn method(&self) -> Option<DockerMethod> {
        self.method
    }

    fn stands<'a>(&'a self, host: &'a str) -> Stands<'a> {
        let (domain, port) = match host.rsplit_once(':') {
            Some((domain, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (domain, port.parse().ok()),
            _ => (host, None),
        };
        let own = domain.eq_ignore_ascii_case(&self.domain);
        let plain = |port: Option<u16>| port.filter(|port| ![80, 443].contains(port));
        if own && plain(port) == plain(self.port) {
            return Stands::All;
        }
        let label = domain.split_once('.');
        let below = label.filter(|(_, rest)| rest.eq_ignore_ascii_case(&self.domain)).map(|(label, _)| label);
        let named = match self.method {
            // By whatever domain: a proxy may know it by another one than this address.
            Some(DockerMethod::Subdomain) => label.map(|(label, _)| label),
            Some(DockerMethod::Port) => {
                self.ports.iter().find(|(_, p)| Some(**p) == port).map(|(key, _)| &**key)
            }
            None if below.is_some() => below,
            None if own => None,
            Some(DockerMethod::Path) | None => return Stands::All,
        };
        named.map_or(Stands::Unknown, Stands::For)
    }

    /// The repository of an image, and the path in it; `None` where the path names none.
    ///
    /// # Errors
    /// It is not known which one the host stands for.
    pub(super) fn locate(&self, host: &str, repository: &str) -> Result<Option<(String, String)>, Fault> {
        match self.stands(host) {
            Stands::All => {
                Ok(repository.split_once('/').map(|(key, path)| (key.to_owned(), path.to_owned())))
            }
            Stands::For(key) => Ok(Some((key.to_owned(), repository.to_owned()))),
            Stands::Unknown => Err(Fault::Settings(
                "the registry does not tell which of its repositories this host stands for".to_owned(),
            )),
        }
    }

    /// What images of a repository start with, as far as it is known.
    pub fn images(&self, hosts: &[Host], key: &str) -> Vec<String> {
        let own = |port: Option<u16>| match port {
            Some(port) => format!("{}:{port}", self.domain),
            None => self.domain.clone(),
        };
        match self.method {
            Some(DockerMethod::Subdomain) => vec![format!("{key}.{}/", own(self.port))],
            Some(DockerMethod::Port) => {
                self.ports.get(key).map(|port| format!("{}/", own(Some(*port)))).into_iter().collect()
            }
            Some(DockerMethod::Path) | None => {
                let of = |host: &Host| match self.stands(host.as_str()) {
                    Stands::All => Some(format!("{}/{key}/", host.as_str())),
                    Stands::For(named) if named == key => Some(format!("{}/", host.as_str())),
                    Stands::For(_) | Stands::Unknown => None,
                };
                hosts.iter().filter_map(of).collect()
            }
        }
    }

    /// Which of the repositories a record claims.
    pub fn claimed<'k>(&self, hosts: &[Host], paths: &[PathPrefix], keys: &'k [Name]) -> Vec<&'k Name> {
        let first = |path: &PathPrefix| path.as_str().split('/').next().unwrap_or_default().to_owned();
        let claims = |host: &Host, key: &Name| match self.stands(host.as_str()) {
            Stands::All => paths.is_empty() || paths.iter().any(|path| *key == first(path)),
            Stands::For(named) => key == named,
            // One of all; still less than the account itself.
            Stands::Unknown => true,
        };
        keys.iter().filter(|key| hosts.iter().any(|host| claims(host, key))).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn access(method: Option<&str>) -> Access {
        let mut access = Access::of(&Url::parse("https://art.example.com").unwrap());
        let repositories = json!({"reverseProxyRepoConfigs": [{"repoRef": "team-b", "port": 5001}]});
        access.learn(&json!({"dockerReverseProxyMethod": method, "reverseProxyRepositories": repositories}));
        access
    }

    fn located(method: Option<&str>, host: &str, repository: &str) -> Option<(String, String)> {
        access(method).locate(host, repository).unwrap()
    }

    #[test]
    fn an_image_is_found_by_path_subdomain_and_port() {
        let at = |key: &str, path: &str| Some((key.to_owned(), path.to_owned()));
        for method in [None, Some("REPOPATHPREFIX"), Some("SUBDOMAIN"), Some("PORTPERREPO")] {
            assert_eq!(
                located(method, "art.example.com", "team-a/web/app"),
                at("team-a", "web/app"),
                "{method:?}"
            );
            assert_eq!(located(method, "art.example.com", "team-a"), None);
        }
        for method in [None, Some("SUBDOMAIN")] {
            assert_eq!(located(method, "team-a.art.example.com", "web/app"), at("team-a", "web/app"));
        }
        assert_eq!(located(Some("SUBDOMAIN"), "team-a.images.example.net", "app"), at("team-a", "app"));
        assert_eq!(located(Some("PORTPERREPO"), "art.example.com:5001", "web/app"), at("team-b", "web/app"));
        assert!(access(Some("PORTPERREPO")).locate("art.example.com:5002", "app").is_err());
        assert!(access(None).locate("art.example.com:5002", "app").is_err());
        // Another name for the same address.
        assert_eq!(located(None, "images.example.net", "team-a/app"), at("team-a", "app"));
    }

    #[test]
    fn images_are_called_by_what_the_registry_tells_or_else_by_what_the_record_says() {
        let hosts = ["art.example.com", "team-a.art.example.com"].map(|host| Host::parse(host).unwrap());
        let images = |method| access(method).images(&hosts, "team-a");
        assert_eq!(
            images(Some("REPOPATHPREFIX")),
            ["art.example.com/team-a/", "team-a.art.example.com/team-a/"]
        );
        assert_eq!(images(Some("SUBDOMAIN")), ["team-a.art.example.com/"]);
        assert!(images(Some("PORTPERREPO")).is_empty());
        assert_eq!(access(Some("PORTPERREPO")).images(&hosts, "team-b"), ["art.example.com:5001/"]);
        assert_eq!(images(None), ["art.example.com/team-a/", "team-a.art.example.com/"]);
        assert_eq!(access(None).images(&hosts, "team-b"), ["art.example.com/team-b/"]);
    }

    #[test]
    fn a_record_claims_repositories_by_its_paths_or_by_its_hosts() {
        let keys = ["team-a", "team-ab", "team-b"].map(Name::from);
        let claimed = |method, host: &str, paths: &[&str]| {
            let paths: Vec<_> = paths.iter().map(|path| PathPrefix::parse(path).unwrap()).collect();
            let claimed = access(method).claimed(&[Host::parse(host).unwrap()], &paths, &keys);
            claimed.into_iter().map(Name::as_str).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(claimed(None, "art.example.com", &[]), "team-a team-ab team-b");
        assert_eq!(claimed(None, "art.example.com", &["team-a/web", "none"]), "team-a");
        assert_eq!(claimed(Some("SUBDOMAIN"), "team-b.art.example.com", &["web"]), "team-b");
        assert_eq!(claimed(Some("PORTPERREPO"), "art.example.com:5001", &[]), "team-b");
        assert_eq!(claimed(Some("PORTPERREPO"), "art.example.com:5009", &["web"]), "team-a team-ab team-b");
    }
}
