package io.github.rerankd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.rerankd.v1.RerankRequest;
import io.grpc.CallCredentials;
import io.grpc.CompositeChannelCredentials;
import io.grpc.InsecureChannelCredentials;
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
import java.util.List;
import java.util.concurrent.Executor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
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
  @ValueSource(
      strings = {"127.0.0.1:50051", "127.8.9.10:1", "[::1]:50051", "localhost:1", "unix:/x"})
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
  @ValueSource(strings = {"", "{", "[]", "null"})
  void aServiceConfigThatIsNoneIsRefused(String json) {
    var builder = RerankClient.builder();
    assertThrows(IllegalArgumentException.class, () -> builder.serviceConfig(json));
  }

  @Test
  void noProxyOnThisMachine() throws Exception {
    var before = ProxySelector.getDefault();
    ProxySelector.setDefault(new Nowhere());
    try (var server = new FakeServer(FakeServer::answer);
        var client = RerankClient.create(server.address())) {
      assertEquals(FakeServer.FINAL, client.rerank(REQUEST));
    } finally {
      ProxySelector.setDefault(before);
    }
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
  private static final class Nowhere extends ProxySelector {
    @Override
    public List<Proxy> select(URI target) {
      return List.of(
          new Proxy(Proxy.Type.HTTP, InetSocketAddress.createUnresolved("nowhere.invalid", 1)));
    }

    @Override
    public void connectFailed(URI target, SocketAddress proxy, IOException error) {}
  }
}
