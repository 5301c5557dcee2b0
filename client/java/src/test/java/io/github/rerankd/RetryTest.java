package io.github.rerankd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.rerankd.v1.Document;
import io.github.rerankd.v1.RerankRequest;
import io.grpc.Metadata;
import io.grpc.Status;
import java.io.IOException;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class RetryTest {
  private static final RerankRequest REQUEST = RerankRequest.getDefaultInstance();
  private static final Metadata.Key<String> PUSHBACK =
      Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER);

  /** Only who is told to comes back before the test is over. */
  private static final String SLOW =
      RerankClient.RETRYING.replace("\"0.1s\"", "\"3600s\"").replace("\"2s\"", "\"3600s\"");

  @Test
  void aCallIsMadeAgain() throws Exception {
    try (var server = failingOnce(null);
        var client = client(server, RerankClient.RETRYING)) {
      assertEquals(FakeServer.FINAL, client.rerank(REQUEST));
      assertEquals(2, server.requests.size());
    }
  }

  @Test
  void partialRankingsAreAskedForAgain() throws Exception {
    try (var server = failingOnce(null);
        var client = client(server, RerankClient.RETRYING);
        var rankings = client.rerankPartial(REQUEST)) {
      assertEquals(FakeServer.FINAL, rankings.next());
      assertEquals(2, server.requests.size());
    }
  }

  @Test
  void notWithoutAPolicy() throws Exception {
    try (var server = failingOnce(null);
        var client = RerankClient.create(server.address())) {
      assertThrows(RerankException.class, () -> client.rerank(REQUEST));
      assertEquals(1, server.requests.size());
    }
  }

  @Test
  void afterAsLongAsTheServerSays() throws Exception {
    try (var server = failingOnce("1");
        var client = client(server, SLOW)) {
      assertEquals(FakeServer.FINAL, client.rerank(REQUEST));
    }
  }

  @Test
  void notWhereTheServerSaysSo() throws Exception {
    try (var server = failingOnce("-1");
        var client = client(server, RerankClient.RETRYING)) {
      assertThrows(RerankException.class, () -> client.rerank(REQUEST));
      assertEquals(1, server.requests.size());
    }
  }

  @Test
  void largeRequestsToo() throws Exception {
    var text = "x".repeat(17 << 20); // more than gRPC keeps by itself for a call, and for a channel
    var large =
        RerankRequest.newBuilder().addDocuments(Document.newBuilder().setText(text)).build();
    try (var server = failingOnce(null);
        var client = client(server, RerankClient.RETRYING)) {
      assertEquals(FakeServer.FINAL, client.rerank(large));
      assertEquals(2, server.requests.size());
    }
  }

  private static RerankClient client(FakeServer server, String config) {
    return RerankClient.builder()
        .address(server.address())
        .serviceConfig(config)
        .timeout(Duration.ofHours(2))
        .build();
  }

  private static FakeServer failingOnce(String pushback) throws IOException {
    var first = new AtomicBoolean(true);
    var trailers = new Metadata();
    if (pushback != null) {
      trailers.put(PUSHBACK, pushback);
    }
    return new FakeServer(
        (request, to) -> {
          if (first.getAndSet(false)) {
            to.onError(Status.UNAVAILABLE.asException(trailers));
          } else {
            FakeServer.answer(request, to);
          }
        });
  }
}
