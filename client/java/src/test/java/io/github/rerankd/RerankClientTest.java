package io.github.rerankd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.rerankd.v1.Model;
import io.github.rerankd.v1.RankedDocument;
import io.github.rerankd.v1.RerankRequest;
import io.github.rerankd.v1.RerankResponse;
import io.github.rerankd.v1.RerankServiceGrpc;
import io.github.rerankd.v1.ScoreSource;
import io.grpc.ManagedChannelBuilder;
import io.grpc.MethodDescriptor;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;

@Timeout(60)
class RerankClientTest {
  private static final RerankRequest REQUEST = RerankRequest.newBuilder().setQuery("sky").build();
  private static final RerankResponse FIRST = RerankResponse.getDefaultInstance();

  @Test
  void oneRanking() throws Exception {
    try (var server = new FakeServer(FakeServer::answer);
        var client = RerankClient.create(server.address())) {
      assertEquals(FakeServer.FINAL, client.rerank(REQUEST));
      assertEquals(FakeServer.FINAL, client.rerankAsync(REQUEST).get());
      assertEquals(REQUEST, server.requests.take());
    }
  }

  @Test
  void models() throws Exception {
    try (var server = new FakeServer(FakeServer::hang);
        var client = RerankClient.create(server.address())) {
      assertEquals(List.of("judge"), client.models().stream().map(Model::getName).toList());
    }
  }

  @Test
  void rankingsInTheirOrder() throws Exception {
    try (var server = new FakeServer(RerankClientTest::twoRankings);
        var client = RerankClient.create(server.address());
        var rankings = client.rerankPartial(REQUEST)) {
      var seen = new ArrayList<RerankResponse>();
      rankings.forEach(seen::add);
      assertEquals(List.of(FIRST, FakeServer.FINAL), seen);
      assertTrue(server.requests.take().getPartialResults());
      assertFalse(REQUEST.getPartialResults());
    }
  }

  @Test
  void leavingEarlyCancels() throws Exception {
    try (var server = new FakeServer((request, to) -> to.onNext(FIRST));
        var client = RerankClient.create(server.address())) {
      try (var rankings = client.rerankPartial(REQUEST)) {
        assertEquals(FIRST, rankings.next());
      }
      server.cancelled.await();
    }
  }

  @Test
  void cancellingTheFutureCancels() throws Exception {
    try (var server = new FakeServer(FakeServer::hang);
        var client = RerankClient.create(server.address())) {
      var future = client.rerankAsync(REQUEST);
      server.requests.take();
      future.cancel(true);
      server.cancelled.await();
    }
  }

  @Test
  void anInterruptCancels() throws Exception {
    try (var server = new FakeServer(FakeServer::hang);
        var client = RerankClient.create(server.address())) {
      assertInterrupted(server, () -> client.rerank(REQUEST));
    }
    try (var server = new FakeServer(FakeServer::hang);
        var client = RerankClient.create(server.address());
        var rankings = client.rerankPartial(REQUEST)) {
      assertInterrupted(server, rankings::next);
    }
  }

  private static void assertInterrupted(FakeServer server, Executable call) throws Exception {
    var code = new CompletableFuture<Status.Code>();
    var stillSet = new CompletableFuture<Boolean>();
    var caller =
        new Thread(
            () -> {
              code.complete(codeOf(call));
              stillSet.complete(Thread.interrupted());
            });
    caller.start();
    server.requests.take();
    caller.interrupt();
    assertEquals(Status.Code.CANCELLED, code.get());
    assertTrue(stillSet.get());
    server.cancelled.await();
  }

  @Test
  void failures() throws Exception {
    try (var server = new FakeServer((request, to) -> to.onError(Status.NOT_FOUND.asException()));
        var client = RerankClient.create(server.address());
        var rankings = client.rerankPartial(REQUEST)) {
      assertEquals(Status.Code.NOT_FOUND, codeOf(() -> client.rerank(REQUEST)));
      assertEquals(Status.Code.NOT_FOUND, codeOf(rankings::hasNext));
      var error = assertThrows(ExecutionException.class, () -> client.rerankAsync(REQUEST).get());
      assertInstanceOf(RerankException.class, error.getCause());
      assertInstanceOf(StatusRuntimeException.class, error.getCause());
    }
  }

  @Test
  void successWithoutARanking() throws Exception {
    // As a stream: gRPC lets no server of unary calls do this.
    var none =
        ServerServiceDefinition.builder(RerankServiceGrpc.SERVICE_NAME)
            .addMethod(
                RerankServiceGrpc.getRerankOnceMethod().toBuilder()
                    .setType(MethodDescriptor.MethodType.SERVER_STREAMING)
                    .build(),
                ServerCalls.asyncServerStreamingCall((request, to) -> to.onCompleted()))
            .build();
    try (var server = new FakeServer(none);
        var client = RerankClient.create(server.address())) {
      var error = assertThrows(RerankException.class, () -> client.rerank(REQUEST));
      var later = assertThrows(ExecutionException.class, () -> client.rerankAsync(REQUEST).get());
      assertEquals(Status.Code.INTERNAL, error.getStatus().getCode());
      assertInstanceOf(RerankException.class, later.getCause());
      assertEquals(error.getMessage(), later.getCause().getMessage());
    }
  }

  @Test
  void aLargeRanking() throws Exception {
    var large = // twice as much as gRPC takes by itself
        RerankResponse.newBuilder()
            .addResults(RankedDocument.newBuilder().setId("x".repeat(8 << 20)))
            .build();
    try (var server = new FakeServer((request, to) -> answer(large, to));
        var client = RerankClient.create(server.address())) {
      assertEquals(large, client.rerank(REQUEST));
    }
  }

  @Test
  void theDefaultTimeoutAndOnesOfACall() throws Exception {
    try (var server = new FakeServer(FakeServer::answer);
        var client = RerankClient.create(server.address());
        var patient =
            RerankClient.builder().address(server.address()).timeout(Duration.ofDays(2)).build()) {
      client.rerank(REQUEST);
      var seconds = server.deadlines.take().timeRemaining(TimeUnit.SECONDS);
      assertTrue(55 <= seconds && seconds <= 60, seconds + " s");
      patient.rerank(REQUEST);
      assertEquals(1, server.deadlines.take().timeRemaining(TimeUnit.DAYS));
      patient.rerankAsync(REQUEST).get();
      assertEquals(1, server.deadlines.take().timeRemaining(TimeUnit.DAYS));
      patient.rerankAsync(REQUEST, Duration.ofDays(4)).get();
      assertEquals(3, server.deadlines.take().timeRemaining(TimeUnit.DAYS));
      patient.rerank(REQUEST, ChronoUnit.FOREVER.getDuration());
    }
  }

  @Test
  void theTimeoutPasses() throws Exception {
    try (var server = new FakeServer(FakeServer::hang);
        var client = RerankClient.create(server.address());
        var rankings = client.rerankPartial(REQUEST, Duration.ofMillis(1))) {
      assertEquals(Status.Code.DEADLINE_EXCEEDED, codeOf(rankings::next));
      assertEquals(
          Status.Code.DEADLINE_EXCEEDED,
          codeOf(() -> client.rerank(REQUEST, Duration.ofMillis(1))));
    }
  }

  @Test
  void valuesThatANewerServerKnows() throws Exception {
    var newer =
        RerankResponse.newBuilder()
            .addResults(RankedDocument.newBuilder().setSourceValue(98))
            .build();
    try (var server = new FakeServer((request, to) -> answer(newer, to));
        var client = RerankClient.create(server.address())) {
      assertEquals(ScoreSource.UNRECOGNIZED, client.rerank(REQUEST).getResults(0).getSource());
    }
  }

  @Test
  void closingEndsCalls() throws Exception {
    try (var server = new FakeServer(FakeServer::hang)) {
      var client = RerankClient.create(server.address());
      var call = client.rerankAsync(REQUEST);
      server.requests.take();
      client.close();
      client.close();
      server.cancelled.await();
      var error = assertThrows(ExecutionException.class, call::get);
      assertEquals("CANCELLED: the client is closed", error.getCause().getMessage());
      assertEquals(Status.Code.CANCELLED, codeOf(() -> client.rerank(REQUEST)));
    }
  }

  @Test
  void aCallThatFailsBeforeItIsSent() {
    var client = RerankClient.builder().channel(ManagedChannelBuilder::directExecutor).build();
    client.close();
    var error = assertThrows(ExecutionException.class, () -> client.rerankAsync(REQUEST).get());
    assertInstanceOf(RerankException.class, error.getCause());
  }

  private static void answer(RerankResponse response, StreamObserver<RerankResponse> to) {
    to.onNext(response);
    to.onCompleted();
  }

  private static void twoRankings(RerankRequest request, StreamObserver<RerankResponse> to) {
    to.onNext(FIRST);
    FakeServer.answer(request, to);
  }

  private static Status.Code codeOf(Executable call) {
    return assertThrows(RerankException.class, call).getStatus().getCode();
  }
}
