//! The hub from outside: members are the test, frame by frame.

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::event::codec::{Decoder, encode};
use crate::io::{PipeEnd, pipe};
use crate::scope::Scope;

struct Rules(Vec<&'static str>);

impl Access for Rules {
    fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    fn allows(&self, action: BusAction, topic: &str) -> bool {
        self.0.contains(&format!("{} {topic}", action.as_str()).as_str())
    }

    fn ask(&self, _: BusAction, topic: &str) -> BoxFuture<'static, bool> {
        std::future::ready(topic != "asked in vain").boxed()
    }
}

struct Peer {
    io: PipeEnd,
    decoder: Decoder,
}

struct House {
    hub: Arc<Hub>,
    scope: Scope,
}

impl House {
    fn new(limits: BusLimits) -> Self {
        Self { hub: Hub::new(limits), scope: Scope::new() }
    }

    fn peer(&self, name: Option<&str>, rules: Vec<&'static str>) -> Peer {
        let (near, far) = pipe();
        let who = Who { name: name.map(str::to_owned), access: Arc::new(Rules(rules)) };
        self.scope.spawn(Arc::clone(&self.hub).join(Box::new(far), who));
        Peer { io: near, decoder: Decoder::new(LARGEST_MAX_FRAME) }
    }

    async fn subscriber(&self, topic: &str) -> Peer {
        let mut peer = self.peer(Some("key"), vec![]);
        peer.subscribe(topic).await;
        peer
    }
}

impl Peer {
    async fn send(&mut self, value: &Value) {
        self.send_text(&value.to_string()).await;
    }

    async fn send_text(&mut self, text: &str) {
        let mut out = bytes::BytesMut::new();
        encode(text.as_bytes(), LARGEST_MAX_FRAME, &mut out).unwrap();
        self.io.write_all(&out).await.unwrap();
    }

    async fn publish(&mut self, kind: &str, payload: Value) {
        self.send(&json!({ "type": kind, "id": "", "payload": payload })).await;
    }

    async fn subscribe(&mut self, topic: &str) {
        self.publish("__subscribe", json!({ "topic": topic })).await;
        let answer = self.next().await.unwrap();
        assert_eq!(answer["type"], "__subscribed");
        assert_eq!(answer["payload"]["topic"], topic);
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(serde_json::from_slice(&frame).unwrap());
            }
            let mut buffer = vec![0; 64 * 1024];
            match AsyncReadExt::read(&mut self.io, &mut buffer).await.unwrap() {
                0 => return None,
                count => self.decoder.push(&buffer[..count]),
            }
        }
    }

    /// All events until one that this very member publishes now: what was to come has come.
    async fn events(&mut self) -> Vec<Value> {
        self.subscribe_quietly().await;
        self.publish("mark", Value::Null).await;
        let mut all = Vec::new();
        loop {
            let event = self.next().await.unwrap();
            match event["type"].as_str() {
                Some("mark") => return all,
                Some("__subscribed") => {}
                _ => all.push(event),
            }
        }
    }

    async fn subscribe_quietly(&mut self) {
        self.publish("__subscribe", json!({ "topic": "mark" })).await;
    }
}

#[tokio::test]
async fn every_subscriber_gets_an_event_with_the_name_of_who_sent_it_and_not_the_one_it_claims() {
    let house = House::new(BusLimits::default());
    let (mut one, mut two) = (house.subscriber("t").await, house.subscriber("t").await);
    let mut other = house.subscriber("u").await;
    let mut publisher = house.peer(Some("SHA256:p\"q"), vec![]);
    let text =
        r#"{ "from":"SHA256:forged","type":"t", "id":"","payload": {"a": [1.50, "\u00e4"]}}"#;
    publisher.send_text(text).await;
    let expected = json!({
        "type": "t", "id": "", "payload": { "a": [1.5, "ä"] }, "from": "SHA256:p\"q"
    });
    assert_eq!(one.next().await, Some(expected.clone()));
    assert_eq!(two.next().await, Some(expected));
    assert_eq!(other.events().await, Vec::<Value>::new());
    let metrics = house.hub.metrics();
    assert_eq!((metrics.members, metrics.published), (4, 2));
}

#[tokio::test]
async fn a_topic_is_the_type_or_the_type_and_the_id() {
    let house = House::new(BusLimits::default());
    let mut keyed = house.subscriber("a:1").await;
    let mut publisher = house.peer(None, vec![]);
    publisher.send(&json!({ "type": "a", "id": "2", "payload": 0 })).await;
    publisher.send(&json!({ "type": "a", "id": "", "payload": 1 })).await;
    publisher.send(&json!({ "type": "a", "id": "1", "payload": 2 })).await;
    publisher.send_text(r#"{"type":"\u0061","type":"\u0061:1","id":"","payload":3}"#).await;
    assert_eq!(keyed.next().await, Some(json!({ "type": "a", "id": "1", "payload": 2 })));
    assert_eq!(keyed.next().await, Some(json!({ "type": "a:1", "id": "", "payload": 3 })));
}

#[tokio::test]
async fn who_is_subscribed_to_everything_gets_each_event_once() {
    let house = House::new(BusLimits::default());
    let mut peer = house.subscriber("*").await;
    peer.subscribe("t").await;
    let mut publisher = house.peer(None, vec![]);
    publisher.publish("t", json!(1)).await;
    publisher.publish("u", json!(2)).await;
    assert_eq!(peer.next().await.unwrap()["payload"], 1);
    assert_eq!(peer.next().await.unwrap()["payload"], 2);
    peer.publish("__unsubscribe", json!({ "topic": "*" })).await;
    assert_eq!(peer.events().await, Vec::<Value>::new());
    publisher.publish("u", json!(3)).await;
    publisher.publish("t", json!(4)).await;
    assert_eq!(peer.next().await.unwrap()["payload"], 4);
}

#[tokio::test]
async fn a_publisher_that_subscribed_hears_itself_unless_it_said_no() {
    let house = House::new(BusLimits::default());
    let mut peer = house.subscriber("t").await;
    peer.publish("t", json!(1)).await;
    assert_eq!(peer.next().await.unwrap()["payload"], 1);
    peer.publish("__subscribe", json!({ "topic": "t", "echo": false })).await;
    assert_eq!(peer.next().await.unwrap()["type"], "__subscribed");
    peer.publish("t", json!(2)).await;
    assert_eq!(peer.events().await, Vec::<Value>::new());
    let mut other = house.peer(None, vec![]);
    other.publish("t", json!(3)).await;
    assert_eq!(peer.next().await.unwrap()["payload"], 3);
}

#[tokio::test]
async fn events_of_one_publisher_keep_their_order_and_stop_with_the_subscription() {
    let house = House::new(BusLimits::default());
    let mut subscriber = house.peer(Some("key"), vec![]);
    let topics = json!({ "topics": ["a", "b"] });
    subscriber.publish("__subscribe", topics.clone()).await;
    assert_eq!(subscriber.next().await.unwrap()["payload"], topics);
    let mut publisher = house.peer(None, vec![]);
    for number in 0..1000 {
        publisher.publish(if number % 3 == 0 { "a" } else { "b" }, json!(number)).await;
    }
    for number in 0..1000 {
        assert_eq!(subscriber.next().await.unwrap()["payload"], number);
    }
    subscriber.publish("__unsubscribe", json!({ "topic": "a" })).await;
    assert_eq!(subscriber.events().await, Vec::<Value>::new());
    publisher.publish("a", json!("unheard")).await;
    publisher.publish("b", json!("heard")).await;
    assert_eq!(subscriber.next().await.unwrap()["payload"], "heard");
    assert_eq!(house.hub.metrics().unheard, 1);
}

#[tokio::test]
async fn members_that_leave_leave_nothing_behind() {
    let house = House::new(BusLimits::default());
    let (one, two) = (house.subscriber("t").await, house.subscriber("u").await);
    assert_eq!((house.hub.metrics().members, house.hub.metrics().subscriptions), (2, 2));
    drop((one, two));
    while house.hub.metrics().members > 0 {
        tokio::task::yield_now().await;
    }
    let metrics = house.hub.metrics();
    assert_eq!((metrics.topics, metrics.subscriptions), (0, 0));
}

#[tokio::test]
async fn reserved_long_and_too_many_topics_are_refused_and_said_to_be() {
    let house = House::new(BusLimits { max_subscriptions: 2, ..BusLimits::default() });
    let mut peer = house.subscriber("one").await;
    let long = "x".repeat(257);
    let topics = json!({ "topics": ["__x", long, "two", "three", "one"] });
    peer.publish("__subscribe", topics).await;
    for reason in ["reserved", "too_long", "too_many"] {
        let refused = peer.next().await.unwrap();
        assert_eq!(
            (&refused["type"], &refused["payload"]["reason"]),
            (&json!("__refused"), &json!(reason))
        );
    }
    assert_eq!(peer.next().await.unwrap()["payload"]["topics"], json!(["two", "one"]));
    assert_eq!(house.hub.metrics().refused_subscriptions, 3);
}

#[tokio::test]
async fn what_a_key_may_not_is_refused_once_and_counted() {
    let house = House::new(BusLimits::default());
    let rules =
        vec!["publish a", "publish asked in vain", "subscribe b", "publish mark", "subscribe mark"];
    let mut limited = house.peer(Some("key"), rules);
    let mut listener = house.subscriber("a").await;
    limited.publish("__subscribe", json!({ "topic": "a" })).await;
    let refused = json!({ "action": "subscribe", "topic": "a", "reason": "not_permitted" });
    assert_eq!(limited.next().await.unwrap()["payload"], refused);
    limited.subscribe("b").await;
    for topic in ["b", "b", "asked in vain"] {
        limited.publish(topic, json!(0)).await;
    }
    limited.publish("a", json!(1)).await;
    for topic in ["b", "asked in vain"] {
        let refused = json!({ "action": "publish", "topic": topic, "reason": "not_permitted" });
        assert_eq!(limited.next().await.unwrap()["payload"], refused);
    }
    assert_eq!(listener.next().await.unwrap()["payload"], 1);
    assert_eq!(limited.events().await, Vec::<Value>::new());
    assert_eq!(house.hub.metrics().dropped_not_permitted, 3);
}

#[tokio::test]
async fn bad_frames_are_dropped_and_the_sixteenth_in_a_row_ends_the_stream() {
    let house = House::new(BusLimits::default());
    let mut listener = house.subscriber("t").await;
    let mut peer = house.peer(None, vec![]);
    let bad = ["[]", "{", "1", r#"{"type":"t","id":""}"#, r#"{"type":1,"id":"","payload":1}"#];
    for text in bad.iter().cycle().take(15) {
        peer.send_text(text).await;
    }
    peer.publish("t", json!("still there")).await;
    assert_eq!(listener.next().await.unwrap()["payload"], "still there");
    assert_eq!(house.hub.metrics().dropped_invalid, 15);
    for text in bad.iter().cycle().take(16) {
        peer.send_text(text).await;
    }
    assert_eq!(peer.next().await, None);
}

#[tokio::test]
async fn an_event_that_grows_too_long_by_its_senders_name_is_refused() {
    let house = House::new(BusLimits { max_frame: 200, ..BusLimits::default() });
    let mut peer = house.peer(Some("SHA256:name"), vec![]);
    peer.publish("t", json!("x".repeat(160))).await;
    let refused = json!({ "action": "publish", "topic": "t", "reason": "too_large" });
    assert_eq!(peer.next().await.unwrap()["payload"], refused);
    assert_eq!(house.hub.metrics().dropped_too_large, 1);
}

#[tokio::test]
async fn a_slow_consumer_is_closed_alone_at_its_bound_and_told_why() {
    let house = House::new(BusLimits::default());
    let mut slow = house.subscriber("t").await;
    let mut others = [house.subscriber("t").await, house.subscriber("t").await];
    let mut publisher = house.peer(None, vec![]);
    let payload = "x".repeat(1000);
    let count = 6000;
    let publishing = async {
        for _ in 0..count {
            publisher.publish("t", json!(payload)).await;
        }
    };
    let [one, two] = &mut others;
    let hear = async |peer: &mut Peer| {
        for _ in 0..count {
            assert_eq!(peer.next().await.unwrap()["payload"], payload);
        }
    };
    tokio::join!(publishing, hear(one), hear(two));
    let metrics = house.hub.metrics();
    let bound = (MAX_QUEUE / 1000) as u64;
    assert!((1..=bound).contains(&metrics.dropped_slow_consumer), "{metrics:?}");
    let mut last = Value::Null;
    let mut heard = 0;
    while let Some(frame) = slow.next().await {
        heard += u64::from(frame["type"] == "t");
        last = frame;
    }
    assert_eq!(last["type"], "__closed");
    assert_eq!(last["payload"]["reason"], "slow_consumer");
    assert!(heard + metrics.dropped_slow_consumer <= count, "{heard} {metrics:?}");
}

#[tokio::test]
async fn a_subscriber_that_is_nearly_fast_enough_holds_its_publisher_back_and_loses_nothing() {
    let house = House::new(BusLimits::default());
    let mut reader = house.subscriber("t").await;
    let mut publisher = house.peer(None, vec![]);
    let payload = "x".repeat(10_000);
    let publishing = async {
        for _ in 0..2000 {
            publisher.publish("t", json!(payload)).await;
        }
    };
    let reading = async {
        for number in 0..2000 {
            assert_eq!(reader.next().await.unwrap()["payload"], payload);
            if number % 20 == 0 {
                // At most 100 MB/s, and the publisher is as fast as memory.
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        }
    };
    tokio::join!(publishing, reading);
    assert_eq!(house.hub.metrics().dropped_slow_consumer, 0);
}

#[test]
fn the_last_words_are_a_frame() {
    let mut decoder = Decoder::new(1024);
    decoder.push(SLOW);
    let frame = decoder.next_frame().unwrap().unwrap();
    let value: Value = serde_json::from_slice(&frame).unwrap();
    assert_eq!(value["payload"]["reason"], "slow_consumer");
    assert!(decoder.finish().is_ok());
}

#[tokio::test]
async fn a_member_that_is_idle_is_small() {
    let (_near, far) = pipe();
    let who = Who { name: None, access: Arc::new(Rules(vec![])) };
    let size = size_of_val(&Hub::new(BusLimits::default()).join(Box::new(far), who));
    assert!(size <= 1536, "{size} bytes");
}
