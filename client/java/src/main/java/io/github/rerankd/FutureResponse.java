package io.github.rerankd;

import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.util.concurrent.CompletableFuture;

/** A future of the one response of a call. */
final class FutureResponse<T> extends CompletableFuture<T> implements StreamObserver<T> {
  private final Errors errors;
  private T response;

  FutureResponse(Errors errors) {
    this.errors = errors;
  }

  @Override
  public void onNext(T response) {
    this.response = response; // complete only with the status, which may yet be a failure
  }

  @Override
  public void onError(Throwable error) {
    completeExceptionally(
        errors.of(Status.fromThrowable(error), Status.trailersFromThrowable(error)));
  }

  @Override
  public void onCompleted() {
    complete(response);
  }
}
