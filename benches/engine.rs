//! The engine's parts: reading a reference, reading a review, deciding. `cargo bench --bench engine`.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)]
#[path = "../tests/support/records.rs"]
mod records;
#[allow(dead_code)]
#[path = "../tests/support/world.rs"]
mod world;

use std::hint::black_box;

use self::records::space;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pullgate::admission::images::Object;
use pullgate::admission::{answer, judge, review};
use pullgate::domain::decision::{Request, decide};
use pullgate::domain::image::ImageRef;
use pullgate::domain::snapshot::{Settings, Snapshot};

fn references(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse a reference");
    for reference in [
        "nginx",
        "harbor.example.com/project-77/web:1.8.2",
        "ghcr.io/acme/tools/build@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ] {
        group.bench_function(reference, |b| b.iter(|| ImageRef::admissible(black_box(reference))));
    }
}

fn reviews(c: &mut Criterion) {
    let snapshot = Snapshot::build(&world::world(1000), &Settings::default());
    let mut group = c.benchmark_group("read a review");
    for size in [8_000, 100_000] {
        let body = world::review(size, "team-1-ns-1", "harbor.example.com/project-1/web:1");
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("parse", size), &body, |b, body| {
            b.iter(|| review::parse::<Object<'_>>(black_box(body)).unwrap());
        });
        group.bench_with_input(BenchmarkId::new("parse, judge and answer", size), &body, |b, body| {
            b.iter(|| {
                let review = review::parse(black_box(body)).unwrap();
                let verdict = judge::judge(&snapshot, &review, 0).unwrap();
                answer::judged(&review.uid, &verdict)
            });
        });
    }
}

fn decisions(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide an image");
    for spaces in [100, 100_000] {
        let snapshot = Snapshot::build(&world::world(spaces), &Settings::default());
        // More questions than the caches hold, so that a large snapshot pays for its size.
        let questions = world::questions(spaces, 65_536);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("spaces", spaces), |b| {
            let mut next = questions.iter().cycle();
            b.iter(|| {
                let (namespace, image) = next.next().unwrap();
                decide(&snapshot.scope(namespace), &Request { image, always: Some(true), now: 0 }).reason
            });
        });
    }
}

/// One binding among 100,000 spaces: what a replica does until it decides by it.
fn changes(c: &mut Criterion) {
    let mut records = world::world(100_000);
    let mut snapshot = Snapshot::build(&records, &Settings::default());
    let (mut n, mut names) = (0, (0..100_000).cycle());
    c.bench_function("bind one of 100,000 spaces", |b| {
        b.iter(|| {
            n += 1;
            let path = format!("project-{}", names.next().unwrap());
            let (name, record) = space("corp", &path).bound(&[&format!("workspace-{}", n % 1_000)]).into();
            let touched = records.put(name, record);
            snapshot = snapshot.updated(records.clone(), &touched);
        });
    });
}

/// All of it, as after a gap.
fn rebuild(c: &mut Criterion) {
    let records = world::world(100_000);
    let mut group = c.benchmark_group("build the snapshot");
    group.sample_size(10);
    group.bench_function("100,000 spaces", |b| b.iter(|| Snapshot::build(&records, &Settings::default())));
}

criterion_group!(benches, references, reviews, decisions, changes, rebuild);
criterion_main!(benches);
