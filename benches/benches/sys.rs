//! Benches of system calls: the cost of a datagram alone, in a batch, and in a segmented message.

mod config;

use std::hint::black_box;
use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU16;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use uv_sys::message::{recvmsg, sendmsg};
use uv_sys::{
    ControlEncoder, ControlMessages, Ecn, Errno, Family, Metadata, RecvBatch, RecvOptions,
    SendBatch, Transmit,
};

const SMALL: usize = 45;
/// Bytes in a datagram of a batch: 64 of them are one message.
const SIZE: usize = 1_000;
const BATCH: usize = 64;

/// What a connected socket asks for.
const BARE: RecvOptions = RecvOptions::new().with_source(false);

/// Two sockets that are connected to each other.
fn pair() -> (UdpSocket, UdpSocket) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (one, other) = (UdpSocket::bind(any).unwrap(), UdpSocket::bind(any).unwrap());
    one.connect(other.local_addr().unwrap()).unwrap();
    other.connect(one.local_addr().unwrap()).unwrap();
    (one, other)
}

fn single(c: &mut Criterion) {
    let (sender, receiver) = pair();
    let (message, mut buffer) = (Transmit::new(&[7; SMALL]), [0; SMALL]);
    let mut group = c.benchmark_group("sys");
    group.throughput(Throughput::Elements(1));
    group.bench_function("sendmsg and recvmsg", |b| {
        b.iter(|| {
            sendmsg(&sender, &message).unwrap();
            let room = &mut [IoSliceMut::new(&mut buffer)];
            recvmsg(&receiver, room, BARE).unwrap().len
        });
    });
    group.finish();
}

/// Drains the socket, and returns the number of bytes.
fn receive_all(batch: &mut RecvBatch, receiver: &UdpSocket, options: RecvOptions) -> usize {
    let mut bytes = 0;
    loop {
        match batch.recv(receiver, batch.slots(), options) {
            Ok(count) => {
                let lengths = (0..count).filter_map(|index| batch.get(index));
                bytes += lengths.map(|(data, _)| data.len()).sum::<usize>();
            }
            Err(error) => {
                assert_eq!(error, Errno::EAGAIN);
                return bytes;
            }
        }
    }
}

fn batches(c: &mut Criterion) {
    let data = [7; BATCH * SIZE];
    let mut group = c.benchmark_group("sys");
    group.throughput(Throughput::Elements(BATCH as u64));

    let (sender, receiver) = pair();
    let (mut out, mut into) = (SendBatch::new(), RecvBatch::new(BATCH, SIZE));
    group.bench_function("SendBatch and RecvBatch of 64", |b| {
        b.iter(|| {
            let messages = data.chunks(SIZE).map(Transmit::new);
            assert_eq!(out.send(&sender, messages), Ok(BATCH));
            assert_eq!(receive_all(&mut into, &receiver, BARE), data.len());
        });
    });

    let (sender, receiver) = pair();
    uv_sys::option::set_gro(&receiver, true).unwrap();
    let message = Transmit::new(&data).with_segment_size(NonZeroU16::new(SIZE as u16).unwrap());
    let mut into = RecvBatch::new(2, 65_535);
    let options = BARE.with_control(true);
    group.bench_function("64 segments, coalesced", |b| {
        b.iter(|| {
            assert_eq!(sendmsg(&sender, &message), Ok(data.len()));
            assert_eq!(receive_all(&mut into, &receiver, options), data.len());
        });
    });
    group.finish();
}

fn control(c: &mut Criterion) {
    let encode = |buffer: &mut [u8]| {
        let mut control = ControlEncoder::new(buffer);
        control.segment_size(1_200).unwrap();
        control.tos(Family::V4, Ecn::Ect0 as u8).unwrap();
        control.as_bytes().len()
    };
    let mut buffer = [0; ControlEncoder::space(8) * 2];
    let mut group = c.benchmark_group("sys");
    group.throughput(Throughput::Elements(2));
    group.bench_function("encode two control messages", |b| {
        b.iter(|| encode(black_box(&mut buffer)));
    });
    let length = encode(&mut buffer);
    group.bench_function("decode two control messages", |b| {
        b.iter(|| Metadata::from_control(ControlMessages::new(black_box(&buffer[..length]))));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = config::config();
    targets = single, batches, control
}
criterion_main!(benches);
