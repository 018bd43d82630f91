//! Where a pod, and everything that makes pods, names images.
//!
//! Containers of all three kinds and image volumes; `tests/pod_schema.rs` walks the PodSpec of the newest
//! Kubernetes API that the build knows and fails when a field appears that is not read here.

use std::borrow::Cow;
use std::collections::HashSet;

use super::json::{JsonError, Reader};
use crate::domain::pull_secret::PULL_SECRET;

/// A Pod, or a workload with a template for Pods; the few fields that matter, all absent in other objects.
#[derive(Debug, Default)]
pub struct Object<'a> {
    metadata: Option<Metadata>,
    spec: Option<Spec<'a>>,
    /// `PodTemplate` has it at the top.
    template: Option<Template<'a>>,
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
    /// Their names.
    image_pull_secrets: Option<Vec<Option<Cow<'a, str>>>>,
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
        reader.object(|reader, name| match name {
            "metadata" => reader.once(&mut object.metadata, Metadata::read),
            "spec" => reader.once(&mut object.spec, Spec::read),
            "template" => reader.once(&mut object.template, Template::read),
            _ => reader.skip(),
        })?;
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

    /// The node that the pod is on.
    pub fn node_name(self) -> &'a str {
        self.0.node_name.as_deref().unwrap_or_default()
    }

    /// How the list of pull secrets stands towards pullgate's.
    pub fn pull_secrets(self) -> PullSecrets {
        match self.0.image_pull_secrets.as_deref() {
            None | Some([]) => PullSecrets::Empty,
            Some(list) if list.iter().any(|name| name.as_deref() == Some(PULL_SECRET)) => {
                PullSecrets::Present
            }
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

impl Metadata {
    fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
        let mut metadata = Self::default();
        reader.object(|reader, name| match name {
            "annotations" => reader.once(&mut metadata.annotations, Annotations::read),
            _ => reader.skip(),
        })?;
        Ok(metadata)
    }
}

impl Annotations {
    fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
        let mut annotations = Self::default();
        reader.object(|reader, name| match name {
            "kubernetes.io/config.mirror" => reader.once(&mut annotations.mirror, Reader::skip),
            _ => reader.skip(),
        })?;
        Ok(annotations)
    }
}

impl<'a> Template<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
        let mut template = Self::default();
        reader.object(|reader, name| match name {
            "spec" => reader.once(&mut template.spec, Spec::read),
            _ => reader.skip(),
        })?;
        Ok(template)
    }

    fn boxed(reader: &mut Reader<'a>) -> Result<Box<Self>, JsonError> {
        Self::read(reader).map(Box::new)
    }
}

impl<'a> Spec<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
        let mut spec = Self::default();
        let containers = |reader: &mut Reader<'a>| reader.list(Container::read);
        reader.object(|reader, name| match name {
            "initContainers" => reader.once(&mut spec.init_containers, containers),
            "containers" => reader.once(&mut spec.containers, containers),
            "ephemeralContainers" => reader.once(&mut spec.ephemeral_containers, containers),
            "volumes" => reader.once(&mut spec.volumes, |reader| reader.list(Volume::read)),
            "imagePullSecrets" => {
                reader.once(&mut spec.image_pull_secrets, |reader| reader.list(secret_reference))
            }
            "nodeName" => reader.once(&mut spec.node_name, Reader::string),
            "template" => reader.once(&mut spec.template, Template::boxed),
            "jobTemplate" => reader.once(&mut spec.job_template, Template::boxed),
            _ => reader.skip(),
        })?;
        Ok(spec)
    }
}

fn secret_reference<'a>(reader: &mut Reader<'a>) -> Result<Option<Cow<'a, str>>, JsonError> {
    let mut found = None;
    reader.object(|reader, name| match name {
        "name" => reader.once(&mut found, Reader::string),
        _ => reader.skip(),
    })?;
    Ok(found)
}

impl<'a> Container<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
        let mut container = Self::default();
        reader.object(|reader, name| match name {
            "name" => reader.once(&mut container.name, Reader::string),
            "image" => reader.once(&mut container.image, Reader::string),
            "imagePullPolicy" => reader.once(&mut container.image_pull_policy, Reader::string),
            _ => reader.skip(),
        })?;
        Ok(container)
    }
}

impl<'a> Volume<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
        let mut volume = Self::default();
        reader.object(|reader, name| match name {
            "name" => reader.once(&mut volume.name, Reader::string),
            "image" => reader.once(&mut volume.image, ImageVolume::read),
            _ => reader.skip(),
        })?;
        Ok(volume)
    }
}

impl<'a> ImageVolume<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
        let mut image = Self::default();
        reader.object(|reader, name| match name {
            "reference" => reader.once(&mut image.reference, Reader::string),
            "pullPolicy" => reader.once(&mut image.pull_policy, Reader::string),
            _ => reader.skip(),
        })?;
        Ok(image)
    }
}
