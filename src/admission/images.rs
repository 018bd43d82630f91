//! Where a pod, and everything that makes pods, names images.
//!
//! Containers of all three kinds and image volumes; `tests/pod_schema.rs` walks the PodSpec of the newest
//! Kubernetes API that the build knows and fails when a field appears that is not read here.

use std::borrow::Cow;
use std::collections::HashSet;

use super::json::{JsonError, Reader};
use super::review::Reviewed;
use crate::domain::pull_secret::PULL_SECRET;

/// The pull policy by which a node asks the registry each time.
pub const ALWAYS: &str = "Always";

/// A Pod, or a workload with a template for Pods; the few fields that matter, all absent in other objects.
#[derive(Debug, Default)]
pub struct Object<'a> {
    metadata: Option<Metadata>,
    spec: Option<Spec<'a>>,
    /// `PodTemplate` has it at the top.
    template: Option<Box<Template<'a>>>,
}

#[derive(Debug, Default)]
struct Metadata {
    annotations: Option<Annotations>,
}

#[derive(Debug, Default)]
struct Annotations {
    /// `kubernetes.io/config.mirror`, whatever its value.
    mirror: Option<()>,
}

#[derive(Debug, Default)]
struct Template<'a> {
    spec: Option<Spec<'a>>,
}

#[derive(Debug, Default)]
struct Spec<'a> {
    init_containers: Option<Vec<Container<'a>>>,
    containers: Option<Vec<Container<'a>>>,
    ephemeral_containers: Option<Vec<Container<'a>>>,
    volumes: Option<Vec<Volume<'a>>>,
    image_pull_secrets: Option<PullSecrets>,
    node_name: Option<Cow<'a, str>>,
    /// Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, ReplicationController.
    template: Option<Box<Template<'a>>>,
    /// `CronJob`.
    job_template: Option<Box<Template<'a>>>,
}

#[derive(Debug, Default)]
struct Container<'a> {
    name: Option<Cow<'a, str>>,
    image: Option<Cow<'a, str>>,
    image_pull_policy: Option<Cow<'a, str>>,
}

#[derive(Debug, Default)]
struct Volume<'a> {
    name: Option<Cow<'a, str>>,
    image: Option<ImageVolume<'a>>,
}

/// `volumes[].image`, KEP-4639.
#[derive(Debug, Default)]
struct ImageVolume<'a> {
    reference: Option<Cow<'a, str>>,
    pull_policy: Option<Cow<'a, str>>,
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

/// The images of a pod, before a change, that its nodes always pull.
#[derive(Debug)]
pub struct AlwaysPulled<'a>(HashSet<(Place, &'a str)>);

impl AlwaysPulled<'_> {
    /// Whether a change takes the pull policy `Always` from the container or volume of the same name.
    pub fn lose(&self, image: &ImageUse<'_>) -> bool {
        image.pull_policy != Some(ALWAYS) && self.0.contains(&(image.place, image.name))
    }
}

/// The part of an object that describes a pod.
#[derive(Debug, Clone, Copy)]
pub struct Pod<'a>(&'a Spec<'a>);

impl<'a> Object<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// A field that matters has another type than in the Kubernetes API, or is there twice.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
        let mut object = Self::default();
        reader.object(&mut |reader, name| object.member(reader, name))?;
        Ok(object)
    }

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
                name: c.name.as_deref().unwrap_or_default(),
                image: c.image.as_deref().unwrap_or_default(),
                pull_policy: c.image_pull_policy.as_deref(),
            })
        };
        let volumes = self.0.volumes.iter().flatten().enumerate().filter_map(|(index, v)| {
            let image = v.image.as_ref()?;
            Some(ImageUse {
                place: Place::Volume,
                index,
                name: v.name.as_deref().unwrap_or_default(),
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

    /// The images, of a pod that is about to change, with the pull policy `Always`.
    pub fn always_pulled(self) -> AlwaysPulled<'a> {
        let always = self.images().filter(|image| image.pull_policy == Some(ALWAYS));
        AlwaysPulled(always.map(|image| (image.place, image.name)).collect())
    }

    /// The node that the pod is on.
    pub fn node_name(self) -> &'a str {
        self.0.node_name.as_deref().unwrap_or_default()
    }

    /// How the list of pull secrets stands towards pullgate's.
    pub fn pull_secrets(self) -> PullSecrets {
        self.0.image_pull_secrets.unwrap_or(PullSecrets::Empty)
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

impl PullSecrets {
    fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
        let mut found = Self::Empty;
        reader.list(&mut |reader| {
            let mut secret = None;
            reader.object(&mut |reader, name| match name {
                "name" => reader.once(&mut secret, Reader::string),
                _ => reader.skip(),
            })?;
            if secret.as_deref() == Some(PULL_SECRET) {
                found = Self::Present;
            } else if found == Self::Empty {
                found = Self::Others;
            }
            Ok(())
        })?;
        Ok(found)
    }
}

impl<'a> Reviewed<'a> for Object<'a> {
    fn member(&mut self, reader: &mut Reader<'a>, name: &str) -> Result<(), JsonError> {
        match name {
            "metadata" => reader.fill(&mut self.metadata, Metadata::member),
            "spec" => reader.fill(&mut self.spec, Spec::member),
            "template" => reader.fill(&mut self.template, Template::boxed),
            _ => reader.skip(),
        }
    }
}

impl Metadata {
    fn member(&mut self, reader: &mut Reader<'_>, name: &str) -> Result<(), JsonError> {
        match name {
            "annotations" => reader.fill(&mut self.annotations, Annotations::member),
            _ => reader.skip(),
        }
    }
}

impl Annotations {
    fn member(&mut self, reader: &mut Reader<'_>, name: &str) -> Result<(), JsonError> {
        match name {
            "kubernetes.io/config.mirror" => reader.once(&mut self.mirror, Reader::skip),
            _ => reader.skip(),
        }
    }
}

impl<'a> Template<'a> {
    fn member(&mut self, reader: &mut Reader<'a>, name: &str) -> Result<(), JsonError> {
        match name {
            "spec" => reader.fill(&mut self.spec, Spec::member),
            _ => reader.skip(),
        }
    }

    fn boxed(template: &mut Box<Self>, reader: &mut Reader<'a>, name: &str) -> Result<(), JsonError> {
        template.member(reader, name)
    }
}

impl<'a> Spec<'a> {
    fn member(&mut self, reader: &mut Reader<'a>, name: &str) -> Result<(), JsonError> {
        match name {
            "initContainers" => reader.fill_list(&mut self.init_containers, Container::member),
            "containers" => reader.fill_list(&mut self.containers, Container::member),
            "ephemeralContainers" => reader.fill_list(&mut self.ephemeral_containers, Container::member),
            "volumes" => reader.fill_list(&mut self.volumes, Volume::member),
            "imagePullSecrets" => reader.once(&mut self.image_pull_secrets, PullSecrets::read),
            "nodeName" => reader.once(&mut self.node_name, Reader::string),
            "template" => reader.fill(&mut self.template, Template::boxed),
            "jobTemplate" => reader.fill(&mut self.job_template, Template::boxed),
            _ => reader.skip(),
        }
    }
}

impl<'a> Container<'a> {
    fn member(&mut self, reader: &mut Reader<'a>, name: &str) -> Result<(), JsonError> {
        match name {
            "name" => reader.once(&mut self.name, Reader::string),
            "image" => reader.once(&mut self.image, Reader::string),
            "imagePullPolicy" => reader.once(&mut self.image_pull_policy, Reader::string),
            _ => reader.skip(),
        }
    }
}

impl<'a> Volume<'a> {
    fn member(&mut self, reader: &mut Reader<'a>, name: &str) -> Result<(), JsonError> {
        match name {
            "name" => reader.once(&mut self.name, Reader::string),
            "image" => reader.fill(&mut self.image, ImageVolume::member),
            _ => reader.skip(),
        }
    }
}

impl<'a> ImageVolume<'a> {
    fn member(&mut self, reader: &mut Reader<'a>, name: &str) -> Result<(), JsonError> {
        match name {
            "reference" => reader.once(&mut self.reference, Reader::string),
            "pullPolicy" => reader.once(&mut self.pull_policy, Reader::string),
            _ => reader.skip(),
        }
    }
}
