//! Ranks documents, at once and bit by bit: `cargo run --example rank [ADDRESS]`, beside `make serve`.

use std::time::Duration;

use rerankd::{ADDRESS, Client, Code, Error, RerankRequest};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let address = std::env::args().nth(1).unwrap_or(ADDRESS.into());
    let client = Client::builder(address).connect().await?;
    let documents = [
        "Bread needs flour, water, salt and time.",
        "The sky is blue because air scatters blue light most.",
        "At sunset the sky is red.",
        "Why is the sea salty?",
    ];
    let request = RerankRequest::new("why is the sky blue", documents);

    let ranking = client.rerank(request.clone()).await?;
    for result in &ranking.results {
        println!(
            "{} {:?} {:?}",
            result.index,
            result.relevance_score,
            result.source()
        );
    }
    println!("{:?}", ranking.usage.unwrap_or_default());

    // Better and better rankings while a slow model is still at work.
    let mut rankings = client.rerank_partial(request);
    while let Some(ranking) = rankings.next().await {
        let ranking = ranking?;
        println!(
            "final: {}, best: {}",
            ranking.is_final, ranking.results[0].index
        );
    }

    // Without documents, the server says what is wrong with which field.
    let empty = RerankRequest::new("why is the sky blue", [""; 0]);
    match client
        .with_timeout(Duration::from_secs(5))
        .rerank(empty)
        .await
    {
        Err(error) if error.code() == Code::InvalidArgument => println!("{:?}", error.violations()),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    Ok(())
}
