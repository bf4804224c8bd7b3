// SPDX-License-Identifier: Apache-2.0
// A MongoDB server for tests: mongo-java-server behind an address, in memory or in a file that outlives kill -9.

import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.exception.MongoServerError;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import java.net.InetSocketAddress;
import java.util.Set;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import org.h2.mvstore.MVStore;

public final class MongoTestServer {
    private static final Set<String> READS = Set.of("aggregate", "buildInfo", "count", "dbStats", "endSessions", "find",
            "getMore", "hello", "isMaster", "ismaster", "killCursors", "listCollections", "listDatabases",
            "listIndexes", "ping", "serverStatus", "whatsmyuri");

    // Every commit writes its pages anew: now and then, what is mostly out of date makes room.
    private static final int COMMITS_TO_COMPACT = 500;
    private static final int FILL_RATE = 50;
    private static final int COMPACT_BYTES = 4 << 20;

    private static final int AUTHENTICATION_FAILED = 18;

    /** Answers a write when it is in the file; writes that come together share a commit. */
    private static final class DurableBackend extends H2Backend {
        // A commit takes whatever the maps hold: no command may be between a document and its index meanwhile.
        private final ReentrantReadWriteLock lock = new ReentrantReadWriteLock(true);
        private int commits;

        DurableBackend(MVStore store) {
            super(store);
        }

        @Override
        public Document handleMessage(MongoMessage message) {
            String command = message.getDocument().keySet().iterator().next();
            if (command.equals("saslStart")) { // it knows no users, and says so as MongoDB does
                throw new MongoServerError(AUTHENTICATION_FAILED, "AuthenticationFailed", "Authentication failed.");
            }
            Document answer;
            lock.readLock().lock();
            try {
                answer = super.handleMessage(message);
            } finally {
                lock.readLock().unlock();
            }
            if (!READS.contains(command)) {
                commitChanges();
            }
            return answer;
        }

        private void commitChanges() {
            lock.writeLock().lock();
            try {
                if (getMvStore().hasUnsavedChanges()) {
                    commit();
                    commits++;
                }
                if (commits == COMMITS_TO_COMPACT) {
                    getMvStore().compact(FILL_RATE, COMPACT_BYTES);
                    commits = 0;
                }
            } finally {
                lock.writeLock().unlock();
            }
        }
    }

    private static H2Backend openBackend(String file) {
        if (file == null) {
            return H2Backend.inMemory();
        }
        // What the operating system has, it keeps when the process is killed: nothing waits to be overwritten.
        MVStore store = new MVStore.Builder().fileName(file).autoCommitDisabled().open();
        store.setRetentionTime(0);
        store.setVersionsToKeep(0);
        return new DurableBackend(store);
    }

    public static void main(String[] arguments) {
        if (arguments.length < 2 || arguments.length > 3) {
            System.err.println("Usage: mongo-test-server ADDRESS PORT [FILE]");
            System.exit(64);
        }
        MongoServer server = new MongoServer(openBackend(arguments.length == 3 ? arguments[2] : null));
        try {
            server.bind(new InetSocketAddress(arguments[0], Integer.parseInt(arguments[1])));
        } catch (Exception e) { // netty throws what it does not declare, and its threads would go on for ever
            System.err.println("cannot listen on " + arguments[0] + " port " + arguments[1] + ": " + e.getMessage());
            System.exit(1);
        }
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
        System.out.println("listening on port " + server.getLocalAddress().getPort());
    }
}
