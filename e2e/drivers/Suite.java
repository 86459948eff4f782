// What the Java driver sends: every kind of request, with what it can carry.
//
// usage: java -cp JARS Suite.java PORT

import com.datastax.oss.driver.api.core.ConsistencyLevel;
import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.config.DriverConfigLoader;
import com.datastax.oss.driver.api.core.cql.BatchStatement;
import com.datastax.oss.driver.api.core.cql.DefaultBatchType;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.cql.Row;
import com.datastax.oss.driver.api.core.cql.SimpleStatement;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.Map;

public class Suite {
    public static void main(String[] arguments) {
        DriverConfigLoader config =
            DriverConfigLoader.programmaticBuilder()
                .withString(DefaultDriverOption.PROTOCOL_VERSION, "V4")
                .withDuration(DefaultDriverOption.REQUEST_TIMEOUT, Duration.ofSeconds(60))
                .withDuration(DefaultDriverOption.CONNECTION_INIT_QUERY_TIMEOUT, Duration.ofSeconds(20))
                .build();
        InetSocketAddress contact = new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0]));
        try (CqlSession session =
            CqlSession.builder()
                .addContactPoint(contact)
                .withLocalDatacenter("datacenter1")
                .withConfigLoader(config)
                .build()) {
            run(session);
        }
        System.out.println("end");
    }

    private static void run(CqlSession session) {
        session.execute("DROP KEYSPACE IF EXISTS java_suite");
        session.execute(
            "CREATE KEYSPACE java_suite WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
        session.execute("USE java_suite");
        session.execute("CREATE TABLE rows (part int, item int, text text, tags set<text>, PRIMARY KEY (part, item))");
        SimpleStatement named =
            SimpleStatement.newInstance(
                "INSERT INTO rows (part, item, text) VALUES (:p, :i, :t)", Map.of("p", 1, "i", 0, "t", "named"));
        session.execute(named.setQueryTimestamp(1_000_000).setTracing(true));
        PreparedStatement insert = session.prepare("INSERT INTO rows (part, item, text, tags) VALUES (?, ?, ?, ?)");
        for (int item = 1; item < 100; item++) {
            session.execute(insert.bind(1, item, "row " + item, null));
        }
        // Unset values.
        session.execute(insert.boundStatementBuilder().setInt(0, 2).setInt(1, 1).build());
        session.execute(
            BatchStatement.newInstance(DefaultBatchType.UNLOGGED)
                .add(insert.bind(3, 1, "batch", null))
                .add(SimpleStatement.newInstance("INSERT INTO rows (part, item) VALUES (?, ?)", 3, 2))
                .setSerialConsistencyLevel(ConsistencyLevel.LOCAL_SERIAL)
                .setQueryTimestamp(2_000_000));
        int rows = 0;
        for (Row row : session.execute(
            SimpleStatement.newInstance("SELECT * FROM rows WHERE part = ?", 1).setPageSize(7))) {
            rows += row.getInt("part");
        }
        PreparedStatement select = session.prepare("SELECT * FROM rows WHERE part = ?");
        for (Row row : session.execute(select.bind(1).setPageSize(9).setTracing(true))) {
            rows += row.getInt("part");
        }
        System.out.println("rows " + rows);
    }
}
