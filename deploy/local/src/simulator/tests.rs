use super::*;

async fn start() -> (Simulator, reqwest::Client) {
    let simulator = Simulator::start(([127, 0, 0, 1], 0).into()).await.unwrap();
    (simulator, crate::http_client(std::time::Duration::from_millis(500)).unwrap())
}

async fn get(
    client: &reqwest::Client,
    simulator: &Simulator,
    id: &str,
) -> Result<(u16, String), reqwest::Error> {
    let url = format!("{}/v1/convai/conversations/{id}", simulator.base_url());
    let reply = client.get(url).header("xi-api-key", "simulated").send().await?;
    Ok((reply.status().as_u16(), reply.text().await?))
}

#[tokio::test]
async fn script_is_followed_and_its_last_answer_repeats() {
    let (simulator, client) = start().await;
    simulator.script("c1", [Answer::NotFound, Answer::Processing, Answer::Done]);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let (status, body) = get(&client, &simulator, "c1").await.unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        seen.push((status, body["status"].as_str().map(str::to_owned)));
    }
    let done = (200, Some("done".to_owned()));
    assert_eq!(seen, [(404, None), (200, Some("processing".to_owned())), done.clone(), done]);
    assert_eq!(simulator.request_count("c1"), 4);
}

#[tokio::test]
async fn client_observes_each_scripted_fault() {
    let (simulator, client) = start().await;
    simulator.script("hang", [Answer::Hang]);
    simulator.script("reset", [Answer::Reset]);
    simulator.script("garbage", [Answer::Garbage]);
    simulator.script("huge", [Answer::Huge(1 << 20)]);
    assert!(get(&client, &simulator, "hang").await.unwrap_err().is_timeout());
    assert!(!get(&client, &simulator, "reset").await.unwrap_err().is_timeout());
    let (status, text) = get(&client, &simulator, "garbage").await.unwrap();
    assert!(status == 200 && serde_json::from_str::<serde_json::Value>(&text).is_err());
    assert!(get(&client, &simulator, "huge").await.unwrap().1.len() > 1 << 20);
    assert_eq!(get(&client, &simulator, "conv_busy_1").await.unwrap().0, 429);
    assert_eq!(get(&client, &simulator, "conv_busy_1").await.unwrap().0, 200);
}

#[tokio::test]
async fn request_without_api_key_gets_401_and_does_not_advance_the_script() {
    let (simulator, client) = start().await;
    simulator.script("c1", [Answer::NotFound, Answer::Done]);
    let url = format!("{}/v1/convai/conversations/c1", simulator.base_url());
    let reply = client.get(url).send().await.unwrap();
    assert_eq!(reply.status(), 401);
    assert!(reply.text().await.unwrap().contains("authentication_error"));
    assert_eq!(get(&client, &simulator, "c1").await.unwrap().0, 404);
    simulator.stop().await;
    assert!(get(&client, &simulator, "c1").await.unwrap_err().is_connect());
}
