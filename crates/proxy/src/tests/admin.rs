//! When the admin endpoints are there.

use std::net::TcpStream;

use crate::admin::Door;

#[tokio::test]
async fn an_open_door_is_found_before_anything_is_served() {
    let port = testkit::free_port();
    let address = ([127, 0, 0, 1], port).into();
    let _door = Door::open(address, "test").await;
    // Nothing else ran on this thread yet: the system has the connection wait.
    TcpStream::connect(address).unwrap();
}
