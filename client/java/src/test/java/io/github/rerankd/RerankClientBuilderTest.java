package io.github.rerankd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.rerankd.v1.RerankRequest;
import io.grpc.CallCredentials;
import io.grpc.CompositeChannelCredentials;
import io.grpc.ForwardingChannelBuilder2;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.netty.shaded.io.netty.channel.MultiThreadIoEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollIoHandler;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollServerDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Proxy;
import java.net.ProxySelector;
import java.net.SocketAddress;
import java.net.URI;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(60)
class RerankClientBuilderTest {
  private static final RerankRequest REQUEST = RerankRequest.getDefaultInstance();
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private static final CallCredentials NO_TOKEN =
      new CallCredentials() {
        @Override
        public void applyRequestMetadata(RequestInfo call, Executor executor, MetadataApplier to) {}
      };

  @ParameterizedTest
  @ValueSource(strings = {"http", "HTTPS", "grpc", "grpcs", "tcp", "ws", "wss"})
  void anAddressWithASchemeIsRefused(String scheme) {
    var address = scheme + "://127.0.0.1:50051";
    var error = assertThrows(IllegalArgumentException.class, () -> RerankClient.create(address));
    assertEquals(
        "address \"%s\": give host:port or unix:/path, without %s://; TLS is an option of the client"
            .formatted(address, scheme),
        error.getMessage());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "example.com:50051",
        "127.example.com:50051",
        "localhost.example.com:1",
        "dns:///localhost.example.com",
        "dns:example.com:1",
        "dns://localhost/example.com",
        "10.0.0.1"
      })
  void aTokenDoesNotLeaveThisMachineInPlainText(String address) {
    var builder = RerankClient.builder().address(address).token("secret");
    var error = assertThrows(IllegalArgumentException.class, builder::build);
    assertTrue(error.getMessage().contains("\"" + address + "\""), error.getMessage());
    builder.tls(CompositeChannelCredentials.create(InsecureChannelCredentials.create(), NO_TOKEN));
    assertThrows(IllegalArgumentException.class, builder::build);
    builder.tls().build().close();
  }

  @ParameterizedTest
  @MethodSource("onThisMachine")
  @ValueSource(strings = {"unix:/x", "unix:///x", "unix:x"})
  void aTokenMayBeSentInPlainTextOnThisMachine(String address) {
    RerankClient.builder().address(address).token("secret").build().close();
  }

  @Test
  void aTokenIsSent() throws Exception {
    try (var server = new FakeServer(FakeServer::answer);
        var client = RerankClient.builder().address(server.address()).token("secret").build()) {
      client.rerank(REQUEST);
      assertEquals("Bearer secret", server.headers.take().get(AUTHORIZATION));
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "of a file\n", "größer"})
  void aTokenThatCannotBeSentIsRefused(String token) {
    assertThrows(IllegalArgumentException.class, () -> RerankClient.builder().token(token));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      textBlock =
          """
          ``                                         | Not a JSON Object
          {                                          | End of input
          {"methodConfig":}                          | Expected value
          []                                         | Not a JSON Object
          null                                       | Not a JSON Object
          {"methodConfig": 1}                        | is not List
          {"loadBalancingConfig": [{"none": {}}]}    | None of [none]
          {"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 1}}]} | maxAttempts
          """)
  void aServiceConfigThatIsNoneIsRefused(String json, String words) {
    var builder = RerankClient.builder();
    var error = assertThrows(IllegalArgumentException.class, () -> builder.serviceConfig(json));
    assertTrue(error.getMessage().startsWith("service config: "), error.getMessage());
    assertTrue(error.getMessage().contains(words), error.getMessage());
    assertEquals(1, error.getMessage().lines().count(), error.getMessage());
  }

  @Test
  void keepAlive() {
    var told = new KeepAlive();
    RerankClient.builder().setUp(told);
    assertEquals(List.of(), told.seen);
    RerankClient.builder().keepAlive(Duration.ofSeconds(30), Duration.ofSeconds(7)).setUp(told);
    assertEquals(List.of("time PT30S", "timeout PT7S"), told.seen);
  }

  @Test
  void keepAliveForEver() {
    var ever = Duration.ofSeconds(Long.MAX_VALUE);
    RerankClient.builder().keepAlive(ever, ever).build().close();
  }

  @ParameterizedTest
  @MethodSource("onThisMachine")
  void noProxyOnThisMachine(String address) throws Exception {
    assertEquals(0, timesAProxyIsLookedFor(address));
  }

  @Test
  void aProxyElsewhere() throws Exception {
    assertNotEquals(0, timesAProxyIsLookedFor("127.example.com:1"));
  }

  private static int timesAProxyIsLookedFor(String address) throws Exception {
    var proxies = new Proxies();
    var before = ProxySelector.getDefault();
    ProxySelector.setDefault(proxies);
    try (var client = RerankClient.create(address)) {
      // Whatever listens there, or nothing.
      client.rerankAsync(REQUEST, Duration.ofSeconds(5)).handle((done, error) -> error).get();
    } finally {
      ProxySelector.setDefault(before);
    }
    return proxies.asked.get();
  }

  static List<String> onThisMachine() {
    return List.of(
        "127.0.0.1:1",
        "127.8.9.10",
        "[::1]:1",
        "[::1]",
        "localhost:1",
        "LocalHost",
        "dns:///localhost:1",
        "dns:///127.0.0.1",
        "dns:LOCALHOST:1",
        "dns:127.0.0.1:1");
  }

  @Test
  @EnabledOnOs(OS.LINUX)
  void aUnixSocket(@TempDir Path folder) throws Exception {
    var path = folder.resolve("rerankd").toString();
    var group = new MultiThreadIoEventLoopGroup(1, EpollIoHandler.newFactory());
    var builder =
        NettyServerBuilder.forAddress(new DomainSocketAddress(path))
            .channelType(EpollServerDomainSocketChannel.class)
            .bossEventLoopGroup(group)
            .workerEventLoopGroup(group);
    try (var server = new FakeServer(builder, FakeServer::answer);
        var client = RerankClient.create("unix:" + path)) {
      assertEquals(FakeServer.FINAL, client.rerank(REQUEST));
      assertEquals(1, server.requests.size());
    } finally {
      group.shutdownGracefully();
    }
  }

  /** Sends everybody to a proxy that is not there. */
  private static final class Proxies extends ProxySelector {
    final AtomicInteger asked = new AtomicInteger();

    @Override
    public List<Proxy> select(URI target) {
      asked.incrementAndGet();
      return List.of(new Proxy(Proxy.Type.HTTP, new InetSocketAddress("127.0.0.1", 1)));
    }

    @Override
    public void connectFailed(URI target, SocketAddress proxy, IOException error) {}
  }

  /** Notes what gRPC is told: to watch it would take its least keepalive time, ten seconds. */
  private static final class KeepAlive extends ForwardingChannelBuilder2<KeepAlive> {
    final List<String> seen = new ArrayList<>();

    @Override
    protected ManagedChannelBuilder<?> delegate() {
      return Grpc.newChannelBuilder(RerankClient.ADDRESS, InsecureChannelCredentials.create());
    }

    @Override
    public KeepAlive keepAliveTime(long time, TimeUnit unit) {
      seen.add("time " + Duration.of(time, unit.toChronoUnit()));
      return this;
    }

    @Override
    public KeepAlive keepAliveTimeout(long timeout, TimeUnit unit) {
      seen.add("timeout " + Duration.of(timeout, unit.toChronoUnit()));
      return this;
    }
  }
}
