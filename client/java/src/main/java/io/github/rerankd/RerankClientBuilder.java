package io.github.rerankd;

import static java.util.Objects.requireNonNull;

import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptors;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.MetadataUtils;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** Options of a {@link RerankClient}, all of them optional. */
public final class RerankClientBuilder {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private Address address = new Address(RerankClient.ADDRESS);
  private Duration timeout = Duration.ofSeconds(60);
  private ChannelCredentials credentials = InsecureChannelCredentials.create();
  private String token;
  private Consumer<ManagedChannelBuilder<?>> channel = builder -> {};

  RerankClientBuilder() {}

  /**
   * Where the server listens: {@code host:port}, {@code unix:/path} (on Linux), or another target
   * of gRPC's, such as {@code dns:///host:port}.
   *
   * @throws IllegalArgumentException where it begins with {@code http://} or the like
   */
  public RerankClientBuilder address(String address) {
    this.address = new Address(address);
    return this;
  }

  /** How long a call may take that has no timeout of its own; 60 seconds unless told otherwise. */
  public RerankClientBuilder timeout(Duration timeout) {
    this.timeout = requireNonNull(timeout);
    return this;
  }

  /** Encrypts, and checks the server's certificate against the roots that Java trusts. */
  public RerankClientBuilder tls() {
    return tls(TlsChannelCredentials.create());
  }

  /** Encrypts as told: see {@link TlsChannelCredentials#newBuilder} for roots and keys. */
  public RerankClientBuilder tls(ChannelCredentials credentials) {
    this.credentials = requireNonNull(credentials);
    return this;
  }

  /** Sends {@code authorization: Bearer} with each call; needs TLS unless the server is local. */
  public RerankClientBuilder token(String token) {
    if (!token.matches("[!-~]+")) { // gRPC would send it with question marks in it
      throw new IllegalArgumentException(
          "the token is empty, or has characters that cannot be sent");
    }
    this.token = token;
    return this;
  }

  /**
   * Loads a gRPC service config in JSON, such as {@link RerankClient#RETRYING}.
   *
   * @throws IllegalArgumentException where that is no JSON object, or gRPC cannot make sense of it
   */
  public RerankClientBuilder serviceConfig(String json) {
    var config = ServiceConfig.parse(json);
    return channel(builder -> builder.defaultServiceConfig(config));
  }

  /**
   * During a call, asks the server for a sign after {@code time} without one, and gives the
   * connection up where none comes within {@code timeout}. Off unless told otherwise; gRPC asks
   * every ten seconds at most.
   */
  public RerankClientBuilder keepAlive(Duration time, Duration timeout) {
    return channel(
        builder ->
            builder
                .keepAliveTime(RerankClient.nanos(time), TimeUnit.NANOSECONDS)
                .keepAliveTimeout(RerankClient.nanos(timeout), TimeUnit.NANOSECONDS));
  }

  /** Sets up gRPC's channel itself, over what this builder does. May be called more than once. */
  public RerankClientBuilder channel(Consumer<ManagedChannelBuilder<?>> setup) {
    channel = channel.andThen(setup);
    return this;
  }

  /**
   * Gives the client. It connects with its first call.
   *
   * @throws IllegalArgumentException where a token would leave this machine in plain text, or gRPC
   *     cannot make sense of the address
   */
  public RerankClient build() {
    if (token != null && !address.isLocal() && isPlain()) {
      throw new IllegalArgumentException(
          "address \"%s\": a token would be sent there in plain text; set tls()"
              .formatted(address.target()));
    }
    var builder = Grpc.newChannelBuilder(address.target(), credentials);
    setUp(builder);
    var managed = builder.build();
    Channel open = managed;
    if (token != null) {
      var headers = new Metadata();
      headers.put(AUTHORIZATION, "Bearer " + token);
      open = ClientInterceptors.intercept(open, MetadataUtils.newAttachHeadersInterceptor(headers));
    }
    return new RerankClient(
        managed, open, timeout, new Errors(address.target(), managed::isShutdown));
  }

  void setUp(ManagedChannelBuilder<?> builder) {
    builder
        // The server bounds messages, and says so in words.
        .maxInboundMessageSize(Integer.MAX_VALUE)
        // A request that is to be sent again is in memory anyway: gRPC keeps no copy.
        .perRpcBufferLimit(Long.MAX_VALUE)
        .retryBufferSize(Long.MAX_VALUE);
    if (address.isLocal()) {
      builder.proxyDetector(server -> null);
    }
    channel.accept(builder);
  }

  private boolean isPlain() {
    return credentials.withoutBearerTokens() instanceof InsecureChannelCredentials;
  }
}
