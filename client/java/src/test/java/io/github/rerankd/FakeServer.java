package io.github.rerankd;

import io.github.rerankd.v1.ListModelsRequest;
import io.github.rerankd.v1.ListModelsResponse;
import io.github.rerankd.v1.Model;
import io.github.rerankd.v1.RerankRequest;
import io.github.rerankd.v1.RerankResponse;
import io.github.rerankd.v1.RerankServiceGrpc;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.ServerServiceDefinition;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;

/** A server on the loopback interface that answers as a test says, and notes what it was sent. */
final class FakeServer implements AutoCloseable {
  static final RerankResponse FINAL = RerankResponse.newBuilder().setIsFinal(true).build();

  interface Answer {
    void give(RerankRequest request, StreamObserver<RerankResponse> to);
  }

  final BlockingQueue<RerankRequest> requests = new LinkedBlockingQueue<>();
  final BlockingQueue<Metadata> headers = new LinkedBlockingQueue<>();
  final BlockingQueue<Deadline> deadlines = new LinkedBlockingQueue<>();
  final CountDownLatch cancelled = new CountDownLatch(1);
  private final Server server;

  FakeServer(Answer answer) throws IOException {
    this(loopback(), answer);
  }

  FakeServer(NettyServerBuilder builder, Answer answer) throws IOException {
    server =
        builder
            .maxInboundMessageSize(Integer.MAX_VALUE)
            .intercept(new Headers())
            .addService(new Service(answer))
            .build()
            .start();
  }

  FakeServer(ServerServiceDefinition service) throws IOException {
    server = loopback().addService(service).build().start();
  }

  private static NettyServerBuilder loopback() {
    return NettyServerBuilder.forAddress(
        new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
  }

  /** Takes a request, and never answers it. */
  static void hang(RerankRequest request, StreamObserver<RerankResponse> to) {}

  static void answer(RerankRequest request, StreamObserver<RerankResponse> to) {
    to.onNext(FINAL);
    to.onCompleted();
  }

  String address() {
    return "127.0.0.1:" + server.getPort();
  }

  @Override
  public void close() {
    server.shutdownNow();
  }

  private final class Service extends RerankServiceGrpc.RerankServiceImplBase {
    private final Answer answer;

    Service(Answer answer) {
      this.answer = answer;
    }

    @Override
    public void rerank(RerankRequest request, StreamObserver<RerankResponse> to) {
      ((ServerCallStreamObserver<?>) to).setOnCancelHandler(cancelled::countDown);
      deadlines.add(Context.current().getDeadline());
      requests.add(request);
      answer.give(request, to);
    }

    @Override
    public void rerankOnce(RerankRequest request, StreamObserver<RerankResponse> to) {
      rerank(request, to);
    }

    @Override
    public void listModels(ListModelsRequest request, StreamObserver<ListModelsResponse> to) {
      to.onNext(
          ListModelsResponse.newBuilder().addModels(Model.newBuilder().setName("judge")).build());
      to.onCompleted();
    }
  }

  private final class Headers implements ServerInterceptor {
    @Override
    public <A, B> ServerCall.Listener<A> interceptCall(
        ServerCall<A, B> call, Metadata sent, ServerCallHandler<A, B> next) {
      headers.add(sent);
      return next.startCall(call, sent);
    }
  }
}
