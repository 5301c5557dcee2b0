package io.github.rerankd;

import io.github.rerankd.v1.ListModelsRequest;
import io.github.rerankd.v1.Model;
import io.github.rerankd.v1.RerankRequest;
import io.github.rerankd.v1.RerankResponse;
import io.github.rerankd.v1.RerankServiceGrpc;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/**
 * A client of rerankd. Threads may share it; close it when it is not needed any more.
 *
 * <p>A timeout that is given with a call replaces the client's. A thread that is interrupted while
 * it waits cancels its call, and gets a {@link RerankException} of code {@code CANCELLED} with its
 * interrupt status set.
 */
public final class RerankClient implements AutoCloseable {
  /** Where {@code rerankd serve} listens unless told otherwise. */
  public static final String ADDRESS = "127.0.0.1:50051";

  /**
   * A service config for {@link RerankClientBuilder#serviceConfig}: calls that a server cannot take
   * now are made again, up to three more times, after as long as the server says, and not beyond
   * the call's timeout. What was bought by then is cached, so nothing is bought twice.
   */
  public static final String RETRYING = ServiceConfig.retrying();

  private final ManagedChannel managed;
  private final Channel channel;
  private final Duration timeout;
  private final Errors errors;

  RerankClient(ManagedChannel managed, Channel channel, Duration timeout, Errors errors) {
    this.managed = managed;
    this.channel = channel;
    this.timeout = timeout;
    this.errors = errors;
  }

  /** Gives a client of the server at {@link #ADDRESS}. */
  public static RerankClient create() {
    return builder().build();
  }

  /**
   * Gives a client of the server at {@code address}, without encryption.
   *
   * @throws IllegalArgumentException where that is no address; see {@link
   *     RerankClientBuilder#address}
   */
  public static RerankClient create(String address) {
    return builder().address(address).build();
  }

  /** Gives a builder for a client with options of its own. */
  public static RerankClientBuilder builder() {
    return new RerankClientBuilder();
  }

  /**
   * Ranks the request's documents by how relevant they are to its query.
   *
   * @throws RerankException where the call fails
   */
  public RerankResponse rerank(RerankRequest request) {
    return rerank(request, timeout);
  }

  /** Ranks with a timeout of its own; see {@link #rerank(RerankRequest)}. */
  public RerankResponse rerank(RerankRequest request, Duration timeout) {
    return call(RerankServiceGrpc.getRerankOnceMethod(), request, timeout);
  }

  /**
   * Ranks without blocking. The future fails with {@link RerankException}; cancelling it cancels
   * the call.
   */
  public CompletableFuture<RerankResponse> rerankAsync(RerankRequest request) {
    return rerankAsync(request, timeout);
  }

  /** Ranks with a timeout of its own; see {@link #rerankAsync(RerankRequest)}. */
  public CompletableFuture<RerankResponse> rerankAsync(RerankRequest request, Duration timeout) {
    var call = channel.newCall(RerankServiceGrpc.getRerankOnceMethod(), options(timeout));
    var response = new FutureResponse<RerankResponse>(errors);
    ClientCalls.asyncUnaryCall(call, request, response);
    // Only once it is sent: it may fail before, and sending on a cancelled call throws.
    response.whenComplete((done, error) -> call.cancel("the caller cancelled", error));
    return response;
  }

  /**
   * Gives better and better rankings while the documents are still being scored. Sets {@code
   * partial_results} by itself. Close what it returns, best with try-with-resources: until then the
   * call goes on, up to its timeout. The call's failure is thrown where the rankings are read.
   */
  public Rankings rerankPartial(RerankRequest request) {
    return rerankPartial(request, timeout);
  }

  /** Ranks with a timeout of its own; see {@link #rerankPartial(RerankRequest)}. */
  public Rankings rerankPartial(RerankRequest request, Duration timeout) {
    var partial = request.toBuilder().setPartialResults(true).build();
    var call = channel.newCall(RerankServiceGrpc.getRerankMethod(), options(timeout));
    return new Rankings(call, partial, errors);
  }

  /**
   * Lists the models that a request may name, the default first.
   *
   * @throws RerankException where the call fails
   */
  public List<Model> models() {
    return models(timeout);
  }

  /** Lists with a timeout of its own; see {@link #models()}. */
  public List<Model> models(Duration timeout) {
    var request = ListModelsRequest.getDefaultInstance();
    return call(RerankServiceGrpc.getListModelsMethod(), request, timeout).getModelsList();
  }

  /** Closes the connection. Calls that are still going on, and later ones, fail. */
  @Override
  public void close() {
    managed.shutdownNow();
  }

  private <A, B> B call(MethodDescriptor<A, B> method, A request, Duration timeout) {
    try {
      return ClientCalls.blockingUnaryCall(channel, method, options(timeout), request);
    } catch (StatusRuntimeException error) {
      throw errors.of(error);
    }
  }

  private static CallOptions options(Duration timeout) {
    return CallOptions.DEFAULT.withDeadlineAfter(nanos(timeout), TimeUnit.NANOSECONDS);
  }

  /** Gives the most there is where a Duration is longer; its own toNanos() would throw. */
  static long nanos(Duration duration) {
    return TimeUnit.NANOSECONDS.convert(duration);
  }
}
