//! Where a pod, and everything that makes pods, names images.
//!
//! Containers of all three kinds and image volumes; `tests/pod_schema.rs` walks the PodSpec of the newest
//! Kubernetes API that the build knows and fails when a field appears that is not read here.

use std::collections::HashSet;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::strict;
use super::text::Text;
use crate::domain::pull_secret::PULL_SECRET;

/// A Pod, or a workload with a template for Pods; the few fields that matter, all absent in other objects.
#[derive(Debug, Default, Deserialize)]
pub struct Object<'a> {
    #[serde(default, deserialize_with = "strict::object")]
    metadata: Option<Metadata>,
    #[serde(borrow, default, deserialize_with = "strict::object")]
    spec: Option<Spec<'a>>,
    /// `PodTemplate` has it at the top.
    #[serde(borrow, default, deserialize_with = "strict::object")]
    template: Option<Template<'a>>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    #[serde(default, deserialize_with = "strict::object")]
    annotations: Option<Annotations>,
}

#[derive(Debug, Deserialize)]
struct Annotations {
    #[serde(default, rename = "kubernetes.io/config.mirror")]
    mirror: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Template<'a> {
    #[serde(borrow, default, deserialize_with = "strict::object")]
    spec: Option<Spec<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(borrow, default, deserialize_with = "strict::objects")]
    init_containers: Option<Vec<Container<'a>>>,
    #[serde(borrow, default, deserialize_with = "strict::objects")]
    containers: Option<Vec<Container<'a>>>,
    #[serde(borrow, default, deserialize_with = "strict::objects")]
    ephemeral_containers: Option<Vec<Container<'a>>>,
    #[serde(borrow, default, deserialize_with = "strict::objects")]
    volumes: Option<Vec<Volume<'a>>>,
    #[serde(borrow, default, deserialize_with = "strict::objects")]
    image_pull_secrets: Option<Vec<SecretReference<'a>>>,
    #[serde(borrow, default)]
    node_name: Option<Text<'a>>,
    /// Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, ReplicationController.
    #[serde(borrow, default, deserialize_with = "strict::object")]
    template: Option<Box<Template<'a>>>,
    /// `CronJob`.
    #[serde(borrow, default, deserialize_with = "strict::object")]
    job_template: Option<Box<Template<'a>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container<'a> {
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    image: Option<Text<'a>>,
    #[serde(borrow, default)]
    image_pull_policy: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
struct Volume<'a> {
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default, deserialize_with = "strict::object")]
    image: Option<ImageVolume<'a>>,
}

/// `volumes[].image`, KEP-4639.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageVolume<'a> {
    #[serde(borrow, default)]
    reference: Option<Text<'a>>,
    #[serde(borrow, default)]
    pull_policy: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
struct SecretReference<'a> {
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
}

/// A list of the pod's spec that names images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    InitContainer,
    Container,
    EphemeralContainer,
    Volume,
}

impl Place {
    /// What the place is called in a sentence.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InitContainer => "init container",
            Self::Container => "container",
            Self::EphemeralContainer => "ephemeral container",
            Self::Volume => "image volume",
        }
    }
}

/// One image that a pod names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageUse<'a> {
    pub place: Place,
    /// Position in the place's list.
    pub index: usize,
    /// The container's or volume's name.
    pub name: &'a str,
    /// Empty where the field is absent.
    pub image: &'a str,
    /// The pull policy; the API server fills it in before admission, so it is absent only in manifests.
    pub pull_policy: Option<&'a str>,
}

/// What a pod had before a change. Hashed: a pod may have thousands of containers, before and after.
#[derive(Debug)]
pub struct FormerImages<'a>(HashSet<(Place, &'a str, &'a str)>);

impl FormerImages<'_> {
    /// Whether the same image was there under the same name in the same list.
    pub fn have(&self, image: &ImageUse<'_>) -> bool {
        self.0.contains(&(image.place, image.name, image.image))
    }
}

/// The part of an object that describes a pod.
#[derive(Debug, Clone, Copy)]
pub struct Pod<'a>(&'a Spec<'a>);

impl Object<'_> {
    /// The object read as a Pod.
    pub fn pod(&self) -> Option<Pod<'_>> {
        self.spec.as_ref().map(Pod)
    }

    /// The pod that the object's template describes, whatever kind of workload it is.
    pub fn template(&self) -> Option<Pod<'_>> {
        if let Some(template) = &self.template {
            return template.spec.as_ref().map(Pod);
        }
        let spec = self.spec.as_ref()?;
        if let Some(job) = &spec.job_template {
            return job.spec.as_ref()?.template.as_ref()?.spec.as_ref().map(Pod);
        }
        spec.template.as_ref()?.spec.as_ref().map(Pod)
    }

    /// Whether the object says that it mirrors a static pod of a node. Anybody can write that.
    pub fn claims_to_be_mirror(&self) -> bool {
        let annotations = self.metadata.as_ref().and_then(|m| m.annotations.as_ref());
        annotations.is_some_and(|a| a.mirror.is_some())
    }
}

impl<'a> Pod<'a> {
    /// Every image that the pod names, image volumes last.
    pub fn images(self) -> impl Iterator<Item = ImageUse<'a>> {
        let containers = |place, list: &'a Option<Vec<Container<'a>>>| {
            list.iter().flatten().enumerate().map(move |(index, c)| ImageUse {
                place,
                index,
                name: &c.name,
                image: c.image.as_deref().unwrap_or_default(),
                pull_policy: c.image_pull_policy.as_deref(),
            })
        };
        let volumes = self.0.volumes.iter().flatten().enumerate().filter_map(|(index, v)| {
            let image = v.image.as_ref()?;
            Some(ImageUse {
                place: Place::Volume,
                index,
                name: &v.name,
                image: image.reference.as_deref().unwrap_or_default(),
                pull_policy: image.pull_policy.as_deref(),
            })
        });
        containers(Place::InitContainer, &self.0.init_containers)
            .chain(containers(Place::Container, &self.0.containers))
            .chain(containers(Place::EphemeralContainer, &self.0.ephemeral_containers))
            .chain(volumes)
    }

    /// The images of a pod that is about to change.
    pub fn former_images(self) -> FormerImages<'a> {
        FormerImages(self.images().map(|u| (u.place, u.name, u.image)).collect())
    }

    /// The node that the pod is on.
    pub fn node_name(self) -> &'a str {
        self.0.node_name.as_deref().unwrap_or_default()
    }

    /// How the list of pull secrets stands towards pullgate's.
    pub fn pull_secrets(self) -> PullSecrets {
        match self.0.image_pull_secrets.as_deref() {
            None | Some([]) => PullSecrets::Empty,
            Some(list) if list.iter().any(|s| s.name.as_deref() == Some(PULL_SECRET)) => PullSecrets::Present,
            Some(_) => PullSecrets::Others,
        }
    }
}

/// What a pod's `imagePullSecrets` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullSecrets {
    /// Nothing: the list itself must be made.
    Empty,
    /// Others only.
    Others,
    /// Pullgate's, perhaps among others.
    Present,
}
