// SPDX-License-Identifier: Apache-2.0
// Makes the services' users in MongoDB: the user `tickets` may read and write the database `tickets`, and nothing else. For
// each service its password is in a file, <service>_mongo_password. The official image runs this from
// /docker-entrypoint-initdb.d when it starts on an empty volume, and never again, even if it was broken off. Run it by
// mongosh, as root, when that happened, or when a service or a password is new: as often as you like.

const fs = require("fs");

const DIRECTORY = "/run/secrets";
const PASSWORD_FILE = /^(.+)_mongo_password$/;

const found = fs.readdirSync(DIRECTORY).map((name) => PASSWORD_FILE.exec(name)).filter((match) => match);
if (found.length === 0) {
    throw new Error(`there is no <service>_mongo_password in ${DIRECTORY}`);
}
// All of them first, so that a password that is missing is noticed before any user is made. They are made one after
// another: broken off after this, there are some, until it is run again.
const passwords = found.map(([name, service]) => {
    const password = fs.readFileSync(`${DIRECTORY}/${name}`, "utf8").replace(/\n$/, "");
    if (password === "") {
        throw new Error(`${DIRECTORY}/${name} is empty`);
    }
    return [service, password];
});

for (const [service, password] of passwords) {
    const database = db.getSiblingDB(service);
    const roles = [{ role: "readWrite", db: service }];
    if (database.getUser(service) === null) {
        database.createUser({ user: service, pwd: password, roles });
        print(`made the user ${service}`);
    } else {
        database.updateUser(service, { pwd: password, roles });
        print(`changed the user ${service}`);
    }
}
