package io.github.rerankd.example;

import io.github.rerankd.RerankClient;
import io.github.rerankd.RerankException;
import io.github.rerankd.v1.Document;
import io.github.rerankd.v1.RerankRequest;

/** Ranks four documents. Takes the server's address, or else the default. */
public final class Example {
  private Example() {}

  /** Runs it against {@code make serve}. */
  public static void main(String[] arguments) {
    var address = arguments.length > 0 ? arguments[0] : RerankClient.ADDRESS;
    var request =
        RerankRequest.newBuilder()
            .setQuery("why is the sky blue")
            .addDocuments(Document.newBuilder().setText("bread and salt"))
            .addDocuments(Document.newBuilder().setText("the sky is blue: light is scattered"))
            .addDocuments(Document.newBuilder().setText("blue paint"))
            .addDocuments(Document.newBuilder().setText("why the sky is blue, and sunsets red"))
            .build();

    try (var client = RerankClient.create(address)) {
      var ranking = client.rerank(request);
      for (var each : ranking.getResultsList()) {
        System.out.printf(
            "%d  %.3f  %s%n", each.getIndex(), each.getRelevanceScore(), each.getSource());
      }
      System.out.println(ranking.getUsage());

      try (var rankings = client.rerankPartial(request)) {
        for (var partial : rankings) {
          System.out.println(partial.getIsFinal() + " " + partial.getResults(0).getIndex());
        }
      }
      client.rerank(request.toBuilder().setModel("no such model").build());
    } catch (RerankException error) {
      System.out.println(error.getStatus().getCode() + " " + error.reason());
      System.out.println(error.violations());
    }
  }
}
