//! Performs the calls of `tests/clients/README.md` with this client, and reports what it saw.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fs;
use std::time::{Duration, Instant};

use rerankd::proto::{Document, Model, RankedDocument, RerankRequest, RerankResponse, Usage};
use rerankd::{Certificate, Client, ClientTlsConfig, Error, RETRYING};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn StdError>>;
type Names = HashMap<String, String>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let names = arguments.iter().filter_map(|each| each.split_once('='));
    let names = names.map(|(name, value)| (name.into(), value.into()));
    let names: Names = names.collect();
    match arguments.first().map(String::as_str) {
        Some("golden") => golden(&fs::read_to_string(&arguments[1])?, &names).await,
        Some("bench") => bench(&names).await,
        _ => Err("give golden PATH NAME=VALUE... or bench NAME=VALUE...".into()),
    }
}

async fn golden(text: &str, names: &Names) -> Outcome<()> {
    let file: Value = serde_json::from_str(text)?;
    for case in file["cases"].as_array().ok_or("no cases")? {
        let end = match client(case, names)? {
            Ok(client) => match perform(case, &client).await? {
                Ok(code) => end(code, "", None),
                Err(error) => end(&code_name(&error), error.message(), Some(&error)),
            },
            Err(error) => end("ADDRESS", error.message(), Some(&error)),
        };
        say(case, "end", end);
    }
    Ok(())
}

fn client(case: &Value, names: &Names) -> Outcome<Result<Client, Error>> {
    let server = case["server"].as_str().unwrap_or("rerankd");
    let address = match case["address"].as_str() {
        Some(address) => address,
        None => names.get(server).ok_or("no such server")?,
    };
    let mut builder = Client::builder(address);
    if let Some(timeout) = case["timeoutMs"].as_u64() {
        builder = builder.timeout(Duration::from_millis(timeout));
    }
    if case["retry"] == true {
        builder = builder.service_config(RETRYING);
    }
    if case["tls"] == true {
        let authority = fs::read(names.get("ca").ok_or("no ca")?)?;
        let authority = Certificate::from_pem(authority);
        builder = builder.tls(ClientTlsConfig::new().ca_certificate(authority));
    }
    if let Some(token) = case["token"].as_str() {
        builder = builder.bearer_token(token);
    }
    Ok(builder.lazy())
}

async fn perform(case: &Value, client: &Client) -> Outcome<Result<&'static str, Error>> {
    Ok(match case["method"].as_str() {
        Some("rerank") => {
            let answer = client.rerank(request(case)?).await;
            answer.map(|ranking| {
                say(case, "ranking", from_response(&ranking));
                "OK"
            })
        }
        Some("rerankPartial") => {
            let leave_after = case["leaveAfter"].as_u64();
            let mut rankings = client.rerank_partial(request(case)?);
            let mut seen = 0;
            loop {
                match rankings.next().await {
                    Some(Ok(ranking)) => say(case, "ranking", from_response(&ranking)),
                    Some(Err(error)) => break Err(error),
                    None => break Ok("OK"),
                }
                seen += 1;
                if leave_after == Some(seen) {
                    break Ok("LEFT");
                }
            }
        }
        Some("models") => client.models().await.map(|models| {
            let models: Vec<_> = models.iter().map(from_model).collect();
            say(case, "models", json!({"models": models}));
            "OK"
        }),
        _ => return Err("no such method".into()),
    })
}

fn say(case: &Value, what: &str, value: Value) {
    // Standard output ends its lines by itself.
    println!("{}", json!({"case": case["name"], what: value}));
}

fn end(code: &str, message: &str, error: Option<&Error>) -> Value {
    let violations = error.map(Error::violations).unwrap_or_default();
    let violations: Vec<_> = violations
        .iter()
        .map(|each| json!({"field": each.field, "description": each.description}))
        .collect();
    let mut end = json!({
        "code": code,
        "message": message,
        "reason": error.map(Error::reason).unwrap_or_default(),
        "violations": violations,
    });
    if let Some(after) = error.and_then(Error::retry_after) {
        end["retryAfter"] = json!(after.as_secs_f64());
    }
    end
}

/// Gives gRPC's name of a code: `NOT_FOUND` for tonic's `NotFound`.
fn code_name(error: &Error) -> String {
    let mut name = String::new();
    for letter in format!("{:?}", error.code()).chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

fn request(case: &Value) -> Outcome<RerankRequest> {
    let given = &case["request"];
    let mut request = RerankRequest::default();
    for (name, value) in given.as_object().into_iter().flatten() {
        match name.as_str() {
            "query" => request.query = text(value)?,
            "documents" => {
                let documents = value.as_array().ok_or("documents: no list")?;
                request.documents = documents.iter().map(document).collect::<Outcome<_>>()?;
            }
            "model" => request.model = text(value)?,
            "topN" => request.top_n = value.as_i64().ok_or("topN")?.try_into()?,
            "instruction" => request.instruction = text(value)?,
            "returnDocuments" => request.return_documents = value == true,
            "partialResults" => request.partial_results = value == true,
            "requireComplete" => request.require_complete = value == true,
            "cacheMode" => request.cache_mode = cache_mode(value)?,
            _ => return Err(format!("no such field of a request: {name}").into()),
        }
    }
    let generate = &case["generate"];
    if let (Some(count), Some(characters)) =
        (generate["count"].as_u64(), generate["characters"].as_u64())
    {
        let characters = usize::try_from(characters)?;
        request.documents.extend(generated(count, characters));
    }
    Ok(request)
}

fn generated(count: u64, characters: usize) -> impl Iterator<Item = Document> {
    (0..count).map(move |n| {
        let start = format!("{} document", n % 11);
        let stops = ".".repeat(characters.saturating_sub(start.len()));
        Document {
            text: start + &stops,
            id: n.to_string(),
            ..Document::default()
        }
    })
}

fn document(given: &Value) -> Outcome<Document> {
    let mut document = Document::default();
    for (name, value) in given.as_object().ok_or("a document is no object")? {
        match name.as_str() {
            "text" => document.text = text(value)?,
            "id" => document.id = text(value)?,
            // Rust reads "NaN" and "Infinity" as proto3 JSON writes them.
            "priorScore" => {
                document.prior_score = Some(match value.as_str() {
                    Some(text) => text.parse()?,
                    None => value.as_f64().ok_or("priorScore: no number")?,
                });
            }
            _ => return Err(format!("no such field of a document: {name}").into()),
        }
    }
    Ok(document)
}

fn cache_mode(given: &Value) -> Outcome<i32> {
    if let Some(number) = given.as_i64() {
        return Ok(number.try_into()?);
    }
    let mode = rerankd::CacheMode::from_str_name(&text(given)?);
    Ok(mode.ok_or("cacheMode: no such name")?.into())
}

fn text(given: &Value) -> Outcome<String> {
    Ok(given.as_str().ok_or("no text")?.to_owned())
}

fn from_response(ranking: &RerankResponse) -> Value {
    let results: Vec<_> = ranking.results.iter().map(from_result).collect();
    let mut value = json!({
        "results": results,
        "isFinal": ranking.is_final,
        "model": ranking.model,
    });
    if let Some(usage) = &ranking.usage {
        value["usage"] = from_usage(usage);
    }
    value
}

fn from_result(result: &RankedDocument) -> Value {
    let mut value = json!({
        "index": result.index,
        "id": result.id,
        "source": result.source,
        "unscoredReason": result.unscored_reason,
        "unscoredDetail": result.unscored_detail,
    });
    put(&mut value, "relevanceScore", result.relevance_score);
    if let Some(document) = &result.document {
        value["document"] = json!({"text": document.text, "id": document.id});
        put(&mut value["document"], "priorScore", document.prior_score);
    }
    value
}

fn from_usage(usage: &Usage) -> Value {
    // 64 bits are text in proto3 JSON.
    let mut value = json!({
        "cachedPairs": usage.cached_pairs,
        "scoredPairs": usage.scored_pairs,
        "sharedPairs": usage.shared_pairs,
        "unscoredPairs": usage.unscored_pairs,
        "modelCalls": usage.model_calls,
        "promptTokens": usage.prompt_tokens.to_string(),
        "completionTokens": usage.completion_tokens.to_string(),
        "savedPromptTokens": usage.saved_prompt_tokens.to_string(),
        "savedCompletionTokens": usage.saved_completion_tokens.to_string(),
        "pendingCalls": usage.pending_calls,
    });
    put(&mut value, "costUsd", usage.cost_usd);
    put(&mut value, "savedUsd", usage.saved_usd);
    value
}

fn from_model(model: &Model) -> Value {
    let mut value = json!({
        "name": model.name,
        "description": model.description,
        "isDefault": model.is_default,
        "kind": model.kind,
        "parts": model.parts,
        "provider": model.provider,
        "providerModel": model.provider_model,
    });
    put(&mut value, "promptPriceUsd", model.prompt_price_usd);
    put(&mut value, "completionPriceUsd", model.completion_price_usd);
    value
}

/// Sets a field that may be absent.
fn put(value: &mut Value, name: &str, number: Option<f64>) {
    if let Some(number) = number {
        value[name] = match number.is_finite() {
            true => json!(number),
            false if number.is_nan() => json!("NaN"),
            false if number > 0.0 => json!("Infinity"),
            false => json!("-Infinity"),
        };
    }
}

async fn bench(names: &Names) -> Outcome<()> {
    let calls: usize = names.get("calls").ok_or("no calls")?.parse()?;
    let texts: Vec<_> = generated(100, 750)
        .map(|document| format!("{} {}", document.text, document.id))
        .collect();
    let address = |name| names.get(name).ok_or(format!("no {name}"));
    let clients = [
        Client::builder(address("rerankd")?).connect().await?,
        Client::builder(address("floor")?).connect().await?,
    ];
    let mut took = [Vec::new(), Vec::new()];
    for number in 0..calls / 10 + calls {
        for (client, took) in clients.iter().zip(&mut took) {
            let start = Instant::now();
            let documents = texts.iter().map(String::as_str);
            let request = RerankRequest::new("why is the sky blue", documents);
            let ranking = client.rerank(request).await?;
            let best = ranking.results.first().ok_or("no results")?;
            std::hint::black_box((best.index, best.relevance_score));
            if number >= calls / 10 {
                took.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    println!("{}", json!({"rerankd": took[0], "floor": took[1]}));
    Ok(())
}
