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
async fn agents_are_listed_in_pages_and_a_binding_that_elevenlabs_does_not_know_is_refused() {
    let (simulator, client) = start().await;
    let send = async |method: reqwest::Method, path: &str, body: serde_json::Value| {
        let request = client.request(method, format!("{}/v1/convai/{path}", simulator.base_url()));
        let reply = request.header("xi-api-key", "simulated").body(body.to_string()).send().await.unwrap();
        (
            reply.status().as_u16(),
            serde_json::from_str::<serde_json::Value>(&reply.text().await.unwrap()).unwrap(),
        )
    };
    let (get, patch) = (reqwest::Method::GET, reqwest::Method::PATCH);
    let own = |webhooks: serde_json::Value| serde_json::json!({ "platform_settings": { "workspace_overrides": { "webhooks": webhooks } } });
    for id in ["agent_b", "agent_a", "agent_c"] {
        let body = own(serde_json::json!({ "events": ["audio"], "transcript_format": "opentelemetry" }));
        assert_eq!(send(patch.clone(), &format!("agents/{id}"), body).await.0, 200);
    }
    let ids = |page: &serde_json::Value| {
        let agents = page["agents"].as_array().unwrap().iter();
        agents.map(|agent| agent["agent_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (_, first) = send(get.clone(), "agents?page_size=2", serde_json::Value::Null).await;
    assert_eq!(
        (ids(&first), &first["has_more"]),
        (vec!["agent_a".to_owned(), "agent_b".to_owned()], &true.into())
    );
    let rest = format!("agents?page_size=2&cursor={}", first["next_cursor"].as_str().unwrap());
    let (_, last) = send(get.clone(), &rest, serde_json::Value::Null).await;
    assert_eq!((ids(&last), &last["has_more"]), (vec!["agent_c".to_owned()], &false.into()));
    for wrong in
        [serde_json::json!({ "events": ["call.ringing"] }), serde_json::json!({ "transcript_format": "xml" })]
    {
        assert_eq!(send(patch.clone(), "agents/agent_a", own(wrong.clone())).await.0, 422);
        assert_eq!(send(patch.clone(), "settings", serde_json::json!({ "webhooks": wrong })).await.0, 422);
    }
    let (_, agent) = send(get, "agents/agent_a", serde_json::Value::Null).await;
    assert_eq!(
        agent["platform_settings"]["workspace_overrides"]["webhooks"]["transcript_format"],
        "opentelemetry"
    );
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
