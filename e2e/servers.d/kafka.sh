# Kafka, the schema registry and Kafka Connect for e2e/servers, which sources this.
# shellcheck shell=bash disable=SC2154

kafka_version=4.3.1    # that of servers.d/kafka.xml
registry_version=3.3.3
plugins_version=3.6.1  # that of Debezium's MySQL connector in servers.d/debezium-mysql.xml
copy_plugin=org.apache.maven.plugins:maven-dependency-plugin:3.6.1

kafka_port=${SLUICE_KAFKA_PORT:-19092}
controller_port=${SLUICE_KAFKA_CONTROLLER_PORT:-$((kafka_port + 1))}
pods_port=${SLUICE_KAFKA_PODS_PORT:-$((kafka_port + 2))} # Kafka refuses one port on two addresses
secure_port=${SLUICE_KAFKA_SECURE_PORT:-$((kafka_port + 3))} # encrypted and with a login
registry_port=${SLUICE_REGISTRY_PORT:-18081}
management_port=${SLUICE_REGISTRY_MANAGEMENT_PORT:-$((registry_port + 1))}
connect_port=${SLUICE_CONNECT_PORT:-18083}

kafka=$state/kafka registry=$state/registry connect=$state/connect
kafka_home=$cache/kafka-$kafka_version
registry_home=$cache/apicurio-$registry_version
plugins_home=$cache/debezium-$plugins_version
java21_rootfs=$cache/java-21-trixie
# The registry listens on one address only; the host reaches the one for pods too.
registry_host=${extra:-127.0.0.1}

# ---- installing -------------------------------------------------------------------------------

# Runs BUILDER FOLDER once for all states, into a folder that gets its name when it is complete.
cached() { # FOLDER BUILDER
    [ -d "$1" ] && return
    exec 8>"$cache/lock-${1##*/}"
    flock 8
    if ! [ -d "$1" ]; then
        rm -rf "$1.building"
        mkdir -p "$1.building"
        "$2" "$1.building"
        mv "$1.building" "$1"
    fi
    exec 8>&-
}

find_java() { # MAJOR: the oldest Java of at least this version
    local home major found='' found_major=1000
    for home in /usr/lib/jvm/*/; do
        [ -x "$home/bin/java" ] && [ -r "$home/release" ] || continue
        major=$(sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$home/release")
        if ((${major:-0} >= $1 && major < found_major)); then found=$home found_major=$major; fi
    done
    [ -n "$found" ] && java=${found%/}/bin/java
}

need_java17() {
    find_java 17 && return
    apt_install openjdk-17-jre-headless
    find_java 17 || die "no Java 17 or newer in /usr/lib/jvm although openjdk-17-jre-headless is installed"
}

maven() { # ARGUMENT…
    local log=$cache/maven.log
    need_java17
    apt_install maven
    mvn -B -q "$@" >"$log" 2>&1 </dev/null || { tail -n 20 "$log" >&2; die "maven failed: $log"; }
}

copy_jars() { # POM FOLDER
    maven -f "$here/servers.d/$1.xml" "$copy_plugin:copy-dependencies" -DincludeScope=runtime -DoutputDirectory="$2"
}

build_kafka() {
    say "fetching Apache Kafka $kafka_version (55 MB)"
    copy_jars kafka "$1/libs"
}

build_registry() {
    local archive=$1/registry.tar.gz
    say "fetching the schema registry Apicurio $registry_version (160 MB)"
    maven "$copy_plugin:copy" -Dartifact="io.apicurio:apicurio-registry-app:$registry_version:tar.gz:all" \
        -DoutputDirectory="$1" -Dmdep.useBaseVersion=true
    mv "$1"/apicurio-registry-app-*.tar.gz "$archive"
    tar -xzf "$archive" -C "$1"
    rm "$archive"
    [ -f "$1/quarkus-run.jar" ] || die "the archive of Apicurio has no quarkus-run.jar"
}

build_plugins() {
    local name
    for name in debezium-mysql debezium-jdbc avro-converter; do
        say "fetching $name for Kafka Connect"
        copy_jars "$name" "$1/$name"
        # The worker's own, of another version, would not fit these ("BlackbirdModule not a subtype").
        rm -f "$1/$name"/jackson-core-*.jar "$1/$name"/jackson-databind-*.jar
    done
}

# Debian bookworm has no Java 21, which the registry needs; trixie's lives in a small trixie of its own.
build_java21() {
    debian_mirror
    say "unpacking Debian trixie with Java 21 (about a minute)"
    debootstrap --variant=minbase --include=ca-certificates,openjdk-21-jre-headless trixie "$1" "$mirror" \
        >"$cache/java-21-build.log" 2>&1 ||
        { tail -n 20 "$cache/java-21-build.log" >&2; die "debootstrap failed: $cache/java-21-build.log"; }
    chroot "$1" apt-get clean
    rm -rf "$1"/var/lib/apt/lists/*
}

# The command prefix that runs Java 21 with the registry's folders at the same paths as outside.
enter_java21() {
    if find_java 21; then
        java21=("$java")
        return
    fi
    cached "$java21_rootfs" build_java21
    mkdir -p "$java21_rootfs$registry" "$java21_rootfs$registry_home"
    # shellcheck disable=SC2016 # for the inner shell
    java21=(unshare --mount sh -c 'mount --bind "$1" "$0$1" && mount --bind "$2" "$0$2" && mount -t proc proc "$0/proc" &&
        shift 2 && exec chroot "$0" java "$@"' "$java21_rootfs" "$registry" "$registry_home")
}

# ---- Kafka ------------------------------------------------------------------------------------

# The user `sluice` may do everything, `nobody` nothing.
write_kafka_files() {
    local password
    password=$(cat "$kafka/password")
    cat >"$kafka/server.properties" <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller_port
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$kafka_port,CONTROLLER://127.0.0.1:$controller_port,SECURE://127.0.0.1:$secure_port${extra:+,PODS://$extra:$pods_port}
advertised.listeners=PLAINTEXT://127.0.0.1:$kafka_port,SECURE://localhost:$secure_port${extra:+,PODS://$extra:$pods_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PODS:PLAINTEXT,SECURE:SASL_SSL
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location=$kafka/tls.pem
listener.name.secure.ssl.truststore.type=PEM
listener.name.secure.ssl.truststore.location=$kafka/tls.crt
listener.name.secure.ssl.client.auth=requested
listener.name.secure.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_sluice="$password" user_nobody="$password";
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:sluice
inter.broker.listener.name=PLAINTEXT
log.dirs=$kafka/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=5
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
CONF
}

java_kafka() { # MEMORY CLASS ARGUMENT…: sets java_command
    local memory=$1
    shift
    java_command=("$java" "-Xmx$memory" -Dlog4j2.configurationFile="$here/servers.d/log4j2.properties" \
        -cp "$kafka_home/libs/*" "$@")
}

# A certificate of the name localhost only, its own authority.
make_kafka_secrets() {
    apt_install openssl
    new_password kafka
    (
        umask 077
        openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
            -keyout "$kafka/tls.key" -out "$kafka/tls.crt" 2>>"$(log_of kafka)"
        cat "$kafka/tls.key" "$kafka/tls.crt" >"$kafka/tls.pem"
    )
}

init_kafka() {
    say "initialising Kafka in $kafka"
    rm -rf "$kafka/data"
    java_kafka 256m kafka.tools.StorageTool random-uuid
    local id
    id=$("${java_command[@]}" 2>>"$(log_of kafka)") || die "Kafka's StorageTool failed: $(log_of kafka)"
    java_kafka 256m kafka.tools.StorageTool format -t "$id" -c "$kafka/server.properties" \
        --add-scram "SCRAM-SHA-512=[name=sluice,password=$(cat "$kafka/password")]"
    "${java_command[@]}" </dev/null >>"$(log_of kafka)" 2>&1 ||
        { tail -n 15 "$(log_of kafka)" >&2; die "Kafka could not be initialised"; }
    touch "$kafka/formatted-with-users" # only now is it complete
}

# The port opens before the broker is ready to create topics; the log begins anew with each start.
answers_kafka() { grep -q 'Kafka Server started' "$(log_of kafka)" 2>/dev/null; }

start_kafka() {
    need_java17
    cached "$kafka_home" build_kafka
    mkdir -p "$kafka"
    [ -f "$kafka/tls.pem" ] || make_kafka_secrets
    write_kafka_files
    [ -f "$kafka/formatted-with-users" ] || init_kafka
    if ! pid_of kafka >/dev/null; then
        say "starting Kafka on 127.0.0.1:$kafka_port"
        [ ! -f "$(log_of kafka)" ] || mv "$(log_of kafka)" "$(log_of kafka).previous"
        java_kafka 1g -Xms256m kafka.Kafka "$kafka/server.properties"
        launch "$kafka/pid" "$(log_of kafka)" "${java_command[@]}"
    fi
    wait_ready kafka
}

exports_kafka() {
    export_line SLUICE_KAFKA_BOOTSTRAP "127.0.0.1:$kafka_port"
    [ -z "$extra" ] || export_line SLUICE_KAFKA_BOOTSTRAP_PODS "$extra:$pods_port"
    export_line SLUICE_KAFKA_SECURE_BOOTSTRAP "localhost:$secure_port"
    export_line SLUICE_KAFKA_PASSWORD "$(cat "$kafka/password")"
    export_line SLUICE_KAFKA_CERTIFICATE "$kafka/tls.crt"
    export_line SLUICE_KAFKA_KEY "$kafka/tls.key"
    export_line SLUICE_KAFKA_PID_FILE "$kafka/pid"
    export_line SLUICE_KAFKA_DATA_DIR "$kafka/data"
    export_line SLUICE_KAFKA_LIBS "$kafka_home/libs"
    export_line SLUICE_JAVA "$java"
}

# ---- the schema registry ----------------------------------------------------------------------

registry_url() { echo "http://$registry_host:$registry_port/apis/ccompat/v7"; }

answers_registry() { curl -sf -o "$registry/answer" -m 5 "$(registry_url)/subjects"; }

start_registry() {
    apt_install curl
    cached "$registry_home" build_registry
    mkdir -p "$registry"
    enter_java21
    if ! pid_of registry >/dev/null; then
        say "starting the schema registry on $registry_host:$registry_port"
        # On disk and at once: a schema whose id was given out survives a kill.
        launch "$registry/pid" "$(log_of registry)" "${java21[@]}" -Xmx512m "$(data_of registry)" \
            -Dquarkus.http.host="$registry_host" -Dquarkus.http.port="$registry_port" \
            -Dquarkus.management.host=127.0.0.1 -Dquarkus.management.port="$management_port" \
            -Dquarkus.otel.sdk.disabled=true -Dquarkus.log.level=WARN \
            -Dapicurio.datasource.url="jdbc:h2:file:$registry/data/registry;WRITE_DELAY=0" \
            -jar "$registry_home/quarkus-run.jar"
    fi
    wait_ready registry
}

exports_registry() {
    export_line SLUICE_REGISTRY_URL "$(registry_url)"
    # Apicurio's own API, for its converters.
    export_line SLUICE_APICURIO_URL "http://$registry_host:$registry_port/apis/registry/v2"
    export_line SLUICE_REGISTRY_PID_FILE "$registry/pid"
}

# ---- Kafka Connect ----------------------------------------------------------------------------

answers_connect() { curl -sf -o "$connect/answer" -m 5 "http://127.0.0.1:$connect_port/connectors"; }

write_connect_files() {
    cat >"$connect/connect.properties" <<CONF
bootstrap.servers=127.0.0.1:$kafka_port
group.id=connect
listeners=http://127.0.0.1:$connect_port
plugin.path=$plugins_home
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
config.storage.topic=connect.config
config.storage.replication.factor=1
offset.storage.topic=connect.offsets
offset.storage.replication.factor=1
offset.storage.partitions=1
status.storage.topic=connect.status
status.storage.replication.factor=1
status.storage.partitions=1
offset.flush.interval.ms=1000
scheduled.rebalance.max.delay.ms=0
CONF
}

start_connect() {
    apt_install curl
    need_java17
    cached "$kafka_home" build_kafka
    cached "$plugins_home" build_plugins
    pid_of kafka >/dev/null || die "Kafka Connect needs Kafka; run: $program up kafka registry connect"
    mkdir -p "$connect"
    write_connect_files
    if ! pid_of connect >/dev/null; then
        say "starting Kafka Connect on 127.0.0.1:$connect_port (half a minute)"
        java_kafka 2g -Xms256m org.apache.kafka.connect.cli.ConnectDistributed "$connect/connect.properties"
        launch "$connect/pid" "$(log_of connect)" "${java_command[@]}"
    fi
    wait_ready connect
}

exports_connect() {
    export_line SLUICE_CONNECT_URL "http://127.0.0.1:$connect_port"
    export_line SLUICE_CONNECT_PID_FILE "$connect/pid"
    export_line SLUICE_CONNECT_LOG "$(log_of connect)"
}
