//! Former bugs, found by the model and reduced.

use uv_udp::Loop;

use super::harness::*;

/// An IPv6 handle gets another socket when it disconnects, and stores the datagrams of the old one.
#[test]
fn a_disconnect_in_a_receive_callback_keeps_the_order_of_datagrams() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let (udp, own) = bound(&event_loop, ip);
        udp.connect(address).unwrap();
        // More than one read returns.
        for number in 0..60_u8 {
            peer.send_to(&[number], own).unwrap();
        }
        let heard = Log::new();
        let numbers = heard.clone();
        udp.recv_start(move |udp, received| {
            numbers.add(received.unwrap().data[0]);
            if numbers.len() == 5 {
                udp.disconnect().unwrap();
            }
        })
        .unwrap();
        run_until(&event_loop, || heard.len() == 60);
        assert_eq!(heard.get(), (0..60).collect::<Vec<_>>());
    }
}
